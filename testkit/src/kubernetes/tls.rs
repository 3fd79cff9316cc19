//! The server's certificate.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How the server proves who it is.
#[derive(Clone, Debug, Default)]
pub enum Tls {
    /// With a certificate of a CA made for this server: for 127.0.0.1, `::1`, `localhost` and `kubernetes.default.svc`.
    #[default]
    Own,
    /// With these, in PEM: to show clients certificates that they refuse.
    Given {
        /// The server's certificate first, then intermediates.
        chain: String,
        /// The private key.
        key: String,
        /// What clients are given as the CA.
        ca: String,
    },
    /// Not at all: plain HTTP.
    Off,
}

/// What the listener and the clients need. Nothing for plain HTTP.
pub(super) fn acceptor(tls: &Tls) -> io::Result<Option<(TlsAcceptor, String)>> {
    let (chain, key, ca) = match tls {
        Tls::Off => return Ok(None),
        Tls::Given { chain, key, ca } => (chain.clone(), key.clone(), ca.clone()),
        Tls::Own => own().map_err(io::Error::other)?,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some((TlsAcceptor::from(Arc::new(config)), ca)))
}

/// A CA, and a certificate that it signed: chain, key and CA in PEM.
fn own() -> Result<(String, String, String), rcgen::Error> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "fake-kubernetes-ca");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let names = ["127.0.0.1", "::1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(names)?.signed_by(&key, &ca)?;
    Ok((certificate.pem(), key.serialize_pem(), ca.pem()))
}
