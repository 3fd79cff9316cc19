//! The name servers of /etc/resolv.conf (resolv.conf(5)).

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use crate::text_file;

/// Where they are written down.
pub(super) const PATH: &str = "/etc/resolv.conf";

/// Bytes of the file: each server is some rules.
const LIMIT: u64 = 64 << 10;

/// The servers, in the file's order.
pub(super) fn name_servers() -> io::Result<Vec<IpAddr>> {
    Ok(name_servers_in(&text_file::read(PATH, LIMIT)?))
}

pub(super) fn name_servers_in(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            if words.next()? != "nameserver" {
                return None;
            }
            parse(words.next()?)
        })
        .collect()
}

/// An address; that of a link's own neighbour may have the link after a percent sign, which no rule needs.
fn parse(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| {
        let (address, _zone) = text.split_once('%')?;
        address.parse::<Ipv6Addr>().ok().map(IpAddr::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_servers_and_nothing_else() {
        let text = "# nameserver 9.9.9.9\nsearch default.svc\n nameserver\t10.96.0.10 # cluster\n\
                    nameserver fd00::a\nnameserver fe80::1%eth0\nnameserver dns.example\nnameserver\n\
                    nameservers 1.1.1.1\n";
        let servers: Vec<IpAddr> =
            ["10.96.0.10", "fd00::a", "fe80::1"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(name_servers_in(text), servers);
    }
}
