//! The headers that the kernel reports with a packet's first step.

use std::net::{IpAddr, SocketAddr};

use nftwire::events::Trace;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the flow was opened
    Original,
    /// In reply
    Reply,
}

/// A packet, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// IPPROTO_TCP or IPPROTO_UDP
    pub protocol: u8,
    /// Where it comes from
    pub source: SocketAddr,
    /// Where it goes
    pub destination: SocketAddr,
    /// TCP's flags (RFC 9293, section 3.1), the lowest bit FIN; 0 for UDP
    pub flags: u8,
    /// Whether it came in by a device; on its way out otherwise
    pub is_inbound: bool,
    /// The index of that device; 0 where it is not known
    pub device: u32,
}

impl PacketHeader {
    /// Reads the headers; `None` where they are cut off, or are not of TCP or UDP over IPv4 or IPv6 without extension
    /// headers.
    pub(super) fn decode(trace: &Trace<'_>) -> Option<Self> {
        let network = trace.network_header;
        // IPv4 (RFC 791, section 3.1) and IPv6 (RFC 8200, section 3).
        let (protocol, source, destination) = match network.first()? >> 4 {
            4 => {
                let (source, destination) = (network.get(12..16)?, network.get(16..20)?);
                let v4 = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
                (*network.get(9)?, v4(source)?, v4(destination)?)
            }
            6 => {
                let (source, destination) = (network.get(8..24)?, network.get(24..40)?);
                let v6 = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok();
                (*network.get(6)?, v6(source)?, v6(destination)?)
            }
            _ => return None,
        };
        let transport = trace.transport_header;
        let port = |at: usize| Some(u16::from_be_bytes(transport.get(at..at + 2)?.try_into().ok()?));
        let is_tcp = protocol == nft_ruleset::Protocol::TCP;
        Some(Self {
            protocol,
            source: SocketAddr::new(source, port(0)?),
            destination: SocketAddr::new(destination, port(2)?),
            flags: if is_tcp { *transport.get(13)? } else { 0 },
            is_inbound: trace.iif.is_some(),
            device: trace.iif.or(trace.oif).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use nftwire::Family;
    use nftwire::events::TraceKind;

    use super::*;

    fn trace<'a>(network_header: &'a [u8], transport_header: &'a [u8]) -> Trace<'a> {
        Trace {
            family: Family::Inet,
            id: 1,
            kind: TraceKind::Rule,
            table: b"",
            chain: b"",
            rule: None,
            verdict: None,
            policy: None,
            mark: None,
            iif: None,
            oif: Some(2),
            link_header: b"",
            network_header,
            transport_header,
        }
    }

    #[test]
    fn a_syn_over_ipv4() {
        let ip = [0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 5];
        let tcp = [0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0, 0, 0, 0, 0];
        let packet = PacketHeader::decode(&trace(&ip, &tcp)).unwrap();
        assert_eq!(packet.source, "10.0.0.2:40000".parse().unwrap());
        assert_eq!(packet.destination, "10.0.0.5:443".parse().unwrap());
        assert_eq!((packet.protocol, packet.flags, packet.is_inbound, packet.device), (6, 2, false, 2));
    }

    #[test]
    fn headers_that_are_cut_off_are_no_packet() {
        let ip = [0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 5];
        let udp = [0, 53, 0, 54, 0, 8, 0, 0];
        assert!(PacketHeader::decode(&trace(&ip, &udp)).is_some());
        for len in 0..ip.len() {
            assert_eq!(PacketHeader::decode(&trace(&ip[..len], &udp)), None, "{len}");
        }
        for len in 0..4 {
            assert_eq!(PacketHeader::decode(&trace(&ip, &udp[..len])), None, "{len}");
        }
        assert_eq!(PacketHeader::decode(&trace(&[0x15; 20], &udp)), None);
    }
}
