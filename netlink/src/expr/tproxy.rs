use super::{register, required};
use crate::{AttrReader, AttrWriter, DecodeError, Family, Register, uapi};

/// Gives the packet to a transparent socket of this machine without changing it. Only at prerouting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tproxy {
    /// The family of the packets, or `Family::Unspec` for both
    pub family: Family,
    /// The register with the address of the socket; without it, the primary address of the input device
    pub addr: Option<Register>,
    /// The register with the port of the socket, in network order; without it, the packet's own
    pub port: Option<Register>,
}

impl Tproxy {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        writer.put_be32(uapi::NFTA_TPROXY_FAMILY, u32::from(self.family.number()));
        if let Some(addr) = self.addr {
            writer.put_be32(uapi::NFTA_TPROXY_REG_ADDR, addr.number());
        }
        if let Some(port) = self.port {
            writer.put_be32(uapi::NFTA_TPROXY_REG_PORT, port.number());
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut family, mut addr, mut port) = (None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_TPROXY_FAMILY => family = Some(super::family(attribute)?),
                uapi::NFTA_TPROXY_REG_ADDR => addr = Some(register(attribute)?),
                uapi::NFTA_TPROXY_REG_PORT => port = Some(register(attribute)?),
                _ => {}
            }
        }
        Ok(Self { family: required(family, uapi::NFTA_TPROXY_FAMILY)?, addr, port })
    }
}
