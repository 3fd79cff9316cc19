//! What is wrong with a certificate that Go accepts, or does not.
//!
//! webpki is stricter than Go's crypto/x509: it has no X.509 version 1 for servers, no CA's certificate as a server's own,
//! and ring has no ECDSA P-521.

use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, Error, RootCertStore};

use super::kubeconfig::Kubeconfig;

/// The object identifier of the curve P-521 (RFC 5480, secp521r1), DER.
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
const KEYS: &str = "use RSA of 2048 bits or more, ECDSA P-256 or P-384, or Ed25519";

/// What is wrong with the API server's certificate, or with that of its CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFault {
    /// With the server's
    server: String,
    /// With the CA's certificates that cannot be used
    ca: Vec<String>,
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server)?;
        self.ca.iter().try_for_each(|fault| write!(f, "; {fault}"))
    }
}

impl CertificateFault {
    pub(super) fn new(error: &Error, kubeconfig: &Kubeconfig) -> Self {
        Self { server: server_fault(error, kubeconfig.ca.len()), ca: ca_faults(&kubeconfig.ca) }
    }
}

fn server_fault(error: &Error, known: usize) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate_fault(error, known),
        Error::AlertReceived(AlertDescription::HandshakeFailure) => format!(
            "no signature algorithm in common: its key is of a kind that is not supported, such as ECDSA P-521; {KEYS}"
        ),
        error => error.to_string(),
    }
}

fn certificate_fault(error: &CertificateError, known: usize) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            format!("its issuer is none of the certificate authorities that the kubeconfig has ({known})")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired, or the node's clock is ahead".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet, or the node's clock is behind".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            public_key_algorithm_id,
        } => match contains(public_key_algorithm_id, P521) || contains(signature_algorithm_id, P521) {
            true => format!("it is signed with an ECDSA P-521 key, which is not supported; {KEYS}"),
            false => format!("it is signed with an algorithm that does not fit the CA's key; {KEYS}"),
        },
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } => {
            format!("it is signed with an algorithm that is not supported, such as SHA-1; {KEYS}")
        }
        CertificateError::BadSignature => {
            format!("its signature is not its issuer's, or that key's kind is not supported; {KEYS}")
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(error) => webpki_fault(error),
            None => error.to_string(),
        },
        error => error.to_string(),
    }
}

fn webpki_fault(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CaUsedAsEndEntity => {
            "it is a certificate authority's own (basicConstraints CA:TRUE), which a server must not use: issue one for \
             the server"
        }
        webpki::Error::EndEntityUsedAsCa => {
            "a certificate in its chain is not a certificate authority's (basicConstraints CA:TRUE is missing)"
        }
        webpki::Error::UnsupportedCertVersion => {
            "it is X.509 version 1, and a server's has to be version 3: issue it with extensions"
        }
        error => return error.to_string(),
    }
    .to_owned()
}

/// What is wrong with the CA's certificates, by their numbers in the bundle. The others still count.
fn ca_faults(ca: &[Vec<u8>]) -> Vec<String> {
    let fault = |(index, der): (usize, &Vec<u8>)| {
        let added = RootCertStore::empty().add(CertificateDer::from(der.as_slice()));
        let reason = match added.err()? {
            Error::InvalidCertificate(error) => certificate_fault(&error, ca.len()),
            error => error.to_string(),
        };
        Some(format!(
            "certificate {} of the kubeconfig's certificate authority cannot be used: {reason}",
            index + 1
        ))
    };
    ca.iter().enumerate().filter_map(fault).collect()
}

fn contains(der: &[u8], identifier: &[u8]) -> bool {
    der.windows(identifier.len()).any(|window| window == identifier)
        // webpki leaves the outer tag and length off, and of a short identifier possibly its own.
        || der.windows(identifier.len() - 2).any(|window| window == &identifier[2..])
}
