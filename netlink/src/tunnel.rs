//! Named objects that hold a tunnel's metadata (`enum nft_tunnel_key_attributes`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Attr, AttrReader, AttrWriter, DecodeError, uapi};

/// The metadata that a packet gets before a device sends it through a tunnel (from 4.19 on).
///
/// `nft_tunnel_obj_init` in net/netfilter/nft_tunnel.c (Linux 6.12) reads it, `nft_tunnel_obj_dump` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelObject {
    /// The tunnel's id, such as VXLAN's network identifier
    pub id: u32,
    /// The source of the outer packet, of the family of the destination
    pub source: Option<IpAddr>,
    /// The destination of the outer packet
    pub destination: Option<IpAddr>,
    /// The flow label of an outer IPv6 packet; 0 to 0xfffff
    pub flow_label: u32,
    /// `NFT_TUNNEL_F_*`
    pub flags: u32,
    /// The outer packet's type of service
    pub tos: u8,
    /// The outer packet's time to live; the kernel takes 255 where none is given
    pub ttl: u8,
    /// The outer source port; 0 for the device's choice
    pub sport: u16,
    /// The outer destination port; 0 for the device's choice
    pub dport: u16,
    /// What the tunnel's own header gets
    pub options: Option<TunnelOptions>,
}

/// What a tunnel's own header gets (`enum nft_tunnel_opts_attributes`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelOptions {
    /// VXLAN: the number of its group policy
    Vxlan(u32),
    /// ERSPAN of version 1
    Erspan1 {
        /// The port index
        index: u32,
    },
    /// ERSPAN of version 2
    Erspan2 {
        /// The hardware's id; 0 to 63
        hardware: u8,
        /// Whether the mirrored packet was leaving
        egress: bool,
    },
    /// GENEVE: its options, one after the other
    Geneve(Vec<GeneveOption>),
}

/// An option of a GENEVE header (RFC 8926, 3.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneveOption {
    /// The namespace of the type
    pub class: u16,
    /// The option's type
    pub kind: u8,
    /// Its data: a multiple of 4 bytes, at most 124
    pub data: Vec<u8>,
}

impl TunnelObject {
    pub(crate) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let mut id = None;
        let mut tunnel = Self {
            id: 0,
            source: None,
            destination: None,
            flow_label: 0,
            flags: 0,
            tos: 0,
            ttl: 0,
            sport: 0,
            dport: 0,
            options: None,
        };
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_TUNNEL_KEY_ID => id = Some(attribute.be32()?),
                uapi::NFTA_TUNNEL_KEY_IP | uapi::NFTA_TUNNEL_KEY_IP6 => tunnel.addresses(attribute)?,
                uapi::NFTA_TUNNEL_KEY_FLAGS => tunnel.flags = attribute.be32()?,
                uapi::NFTA_TUNNEL_KEY_TOS => tunnel.tos = attribute.u8()?,
                uapi::NFTA_TUNNEL_KEY_TTL => tunnel.ttl = attribute.u8()?,
                uapi::NFTA_TUNNEL_KEY_SPORT => tunnel.sport = attribute.be16()?,
                uapi::NFTA_TUNNEL_KEY_DPORT => tunnel.dport = attribute.be16()?,
                uapi::NFTA_TUNNEL_KEY_OPTS => tunnel.options = options(attribute.nested())?,
                _ => {}
            }
        }
        tunnel.id = id.ok_or(DecodeError::Missing { attribute: uapi::NFTA_TUNNEL_KEY_ID })?;
        if !tunnel.is_ipv6() {
            tunnel.flow_label = 0;
        }
        Ok(tunnel)
    }

    fn is_ipv6(&self) -> bool {
        [self.source, self.destination].into_iter().flatten().any(|address| address.is_ipv6())
    }

    fn addresses(&mut self, nest: Attr<'_>) -> Result<(), DecodeError> {
        for attribute in nest.nested() {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_TUNNEL_KEY_IP_SRC => self.source = address(attribute.value),
                uapi::NFTA_TUNNEL_KEY_IP_DST => self.destination = address(attribute.value),
                uapi::NFTA_TUNNEL_KEY_IP6_FLOWLABEL => self.flow_label = attribute.be32()?,
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn encode(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_TUNNEL_KEY_ID, self.id);
        let is_ipv6 = self.is_ipv6();
        let nest = if is_ipv6 { uapi::NFTA_TUNNEL_KEY_IP6 } else { uapi::NFTA_TUNNEL_KEY_IP };
        writer.nest(nest, |writer| {
            for (kind, address) in [
                (uapi::NFTA_TUNNEL_KEY_IP_SRC, self.source),
                (uapi::NFTA_TUNNEL_KEY_IP_DST, self.destination),
            ] {
                match address {
                    Some(IpAddr::V4(address)) => writer.put(kind, &address.octets()),
                    Some(IpAddr::V6(address)) => writer.put(kind, &address.octets()),
                    None => {}
                }
            }
            if is_ipv6 {
                writer.put_be32(uapi::NFTA_TUNNEL_KEY_IP6_FLOWLABEL, self.flow_label);
            }
        });
        writer.put_be32(uapi::NFTA_TUNNEL_KEY_FLAGS, self.flags);
        writer.put_u8(uapi::NFTA_TUNNEL_KEY_TOS, self.tos);
        writer.put_u8(uapi::NFTA_TUNNEL_KEY_TTL, self.ttl);
        writer.put_be16(uapi::NFTA_TUNNEL_KEY_SPORT, self.sport);
        writer.put_be16(uapi::NFTA_TUNNEL_KEY_DPORT, self.dport);
        if let Some(options) = &self.options {
            writer.nest(uapi::NFTA_TUNNEL_KEY_OPTS, |writer| options.encode(writer));
        }
    }
}

impl TunnelOptions {
    fn encode(&self, writer: &mut AttrWriter) {
        match self {
            Self::Vxlan(policy) => writer.nest(uapi::NFTA_TUNNEL_KEY_OPTS_VXLAN, |writer| {
                writer.put_be32(uapi::NFTA_TUNNEL_KEY_VXLAN_GBP, *policy);
            }),
            Self::Erspan1 { index } => writer.nest(uapi::NFTA_TUNNEL_KEY_OPTS_ERSPAN, |writer| {
                writer.put_be32(uapi::NFTA_TUNNEL_KEY_ERSPAN_VERSION, 1);
                writer.put_be32(uapi::NFTA_TUNNEL_KEY_ERSPAN_V1_INDEX, *index);
            }),
            Self::Erspan2 { hardware, egress } => {
                writer.nest(uapi::NFTA_TUNNEL_KEY_OPTS_ERSPAN, |writer| {
                    writer.put_be32(uapi::NFTA_TUNNEL_KEY_ERSPAN_VERSION, 2);
                    writer.put_u8(uapi::NFTA_TUNNEL_KEY_ERSPAN_V2_HWID, *hardware);
                    writer.put_u8(uapi::NFTA_TUNNEL_KEY_ERSPAN_V2_DIR, u8::from(*egress));
                });
            }
            Self::Geneve(options) => {
                for option in options {
                    writer.nest(uapi::NFTA_TUNNEL_KEY_OPTS_GENEVE, |writer| {
                        writer.put_be16(uapi::NFTA_TUNNEL_KEY_GENEVE_CLASS, option.class);
                        writer.put_u8(uapi::NFTA_TUNNEL_KEY_GENEVE_TYPE, option.kind);
                        writer.put(uapi::NFTA_TUNNEL_KEY_GENEVE_DATA, &option.data);
                    });
                }
            }
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into());
    v4.or(v6).ok()
}

fn options(nest: AttrReader<'_>) -> Result<Option<TunnelOptions>, DecodeError> {
    let mut geneve = Vec::new();
    for attribute in nest {
        let attribute = attribute?;
        match attribute.kind {
            uapi::NFTA_TUNNEL_KEY_OPTS_VXLAN => {
                for attribute in attribute.nested() {
                    let attribute = attribute?;
                    if attribute.kind == uapi::NFTA_TUNNEL_KEY_VXLAN_GBP {
                        return Ok(Some(TunnelOptions::Vxlan(attribute.be32()?)));
                    }
                }
            }
            uapi::NFTA_TUNNEL_KEY_OPTS_ERSPAN => return erspan(attribute.nested()),
            uapi::NFTA_TUNNEL_KEY_OPTS_GENEVE => geneve.push(geneve_option(attribute.nested())?),
            _ => {}
        }
    }
    Ok((!geneve.is_empty()).then_some(TunnelOptions::Geneve(geneve)))
}

fn erspan(nest: AttrReader<'_>) -> Result<Option<TunnelOptions>, DecodeError> {
    let (mut version, mut index, mut hardware, mut egress) = (0, 0, 0, false);
    for attribute in nest {
        let attribute = attribute?;
        match attribute.kind {
            uapi::NFTA_TUNNEL_KEY_ERSPAN_VERSION => version = attribute.be32()?,
            uapi::NFTA_TUNNEL_KEY_ERSPAN_V1_INDEX => index = attribute.be32()?,
            uapi::NFTA_TUNNEL_KEY_ERSPAN_V2_HWID => hardware = attribute.u8()?,
            uapi::NFTA_TUNNEL_KEY_ERSPAN_V2_DIR => egress = attribute.u8()? != 0,
            _ => {}
        }
    }
    Ok(match version {
        1 => Some(TunnelOptions::Erspan1 { index }),
        2 => Some(TunnelOptions::Erspan2 { hardware, egress }),
        _ => None,
    })
}

fn geneve_option(nest: AttrReader<'_>) -> Result<GeneveOption, DecodeError> {
    let mut option = GeneveOption::default();
    for attribute in nest {
        let attribute = attribute?;
        match attribute.kind {
            uapi::NFTA_TUNNEL_KEY_GENEVE_CLASS => option.class = attribute.be16()?,
            uapi::NFTA_TUNNEL_KEY_GENEVE_TYPE => option.kind = attribute.u8()?,
            uapi::NFTA_TUNNEL_KEY_GENEVE_DATA => option.data = attribute.value.to_vec(),
            _ => {}
        }
    }
    Ok(option)
}
