//! What is read from a packet, by nft's names for it.

use nftwire::expr::{CtKey, FibResult, MetaKey, PayloadBase, RtKey, SocketKey, TunnelKey, XfrmKey};
use nftwire::{Family, uapi};

use super::super::lexer::{Kind, Sign};
use super::super::source::Fault;
use super::super::syntax::NEXT_HOP;
use super::{Parsed, Parser};
use crate::model::option::{OptionField, OptionKind};
use crate::model::selector::{CtOf, Fib, HashRange, Ipsec, Numgen, Osf, RawPayload};
use crate::nft::print::{ct_name, meta_name};
use crate::{Protocol, Selector};

const PROTOCOLS: [Protocol; 18] = [
    Protocol::Ether,
    Protocol::Vlan,
    Protocol::Arp,
    Protocol::Ip,
    Protocol::Ip6,
    Protocol::Icmp,
    Protocol::Icmp6,
    Protocol::Igmp,
    Protocol::Tcp,
    Protocol::Udp,
    Protocol::Udplite,
    Protocol::Dccp,
    Protocol::Sctp,
    Protocol::Ah,
    Protocol::Esp,
    Protocol::Comp,
    Protocol::Gre,
    Protocol::Th,
];

/// Keys that need no `meta` before them.
const UNQUALIFIED: [MetaKey; 22] = [
    MetaKey::Mark,
    MetaKey::Iif,
    MetaKey::IifName,
    MetaKey::IifType,
    MetaKey::Oif,
    MetaKey::OifName,
    MetaKey::OifType,
    MetaKey::SkUid,
    MetaKey::SkGid,
    MetaKey::NfTrace,
    MetaKey::RtClassId,
    MetaKey::BriIifName,
    MetaKey::BriOifName,
    MetaKey::PktType,
    MetaKey::Cpu,
    MetaKey::IifGroup,
    MetaKey::OifGroup,
    MetaKey::Cgroup,
    MetaKey::TimeNs,
    MetaKey::TimeDay,
    MetaKey::TimeHour,
    MetaKey::SecPath,
];

fn protocol(word: &str) -> Option<Protocol> {
    PROTOCOLS.into_iter().find(|protocol| protocol.name() == word)
}

/// Older names of nft's, too.
fn meta_key(word: &str) -> Option<MetaKey> {
    match word {
        "ibriport" => return Some(MetaKey::BriIifName),
        "obriport" => return Some(MetaKey::BriOifName),
        "secpath" => return Some(MetaKey::SecPath),
        "ibridgename" => return Some(MetaKey::BriIifName),
        "obridgename" => return Some(MetaKey::BriOifName),
        _ => {}
    }
    (0..=34).map(MetaKey::from_number).find(|key| meta_name(*key).0 == word)
}

fn unqualified(word: &str) -> Option<MetaKey> {
    meta_key(word).filter(|key| UNQUALIFIED.contains(key))
}

impl Parser<'_> {
    /// Whether what comes next is read from the packet, where it could also be a word by itself.
    pub(super) fn begins_selector(&mut self) -> bool {
        let second = self.word_at(1).to_owned();
        match self.word() {
            word @ ("ether" | "vlan" | "arp" | "ip" | "ip6" | "tcp" | "udp" | "icmp" | "icmpv6" | "igmp"
            | "udplite" | "dccp" | "sctp" | "ah" | "esp" | "comp" | "gre" | "th") => {
                let named =
                    |field: &&'static crate::Field| field.name.split(' ').next() == Some(second.as_str());
                protocol(word).is_some_and(|protocol| protocol.fields().iter().any(|field| named(&field)))
                    || matches!(second.as_str(), "option" | "chunk")
            }
            "meta" | "ct" | "numgen" | "jhash" | "symhash" | "socket" | "osf" | "rt" | "fib" => true,
            "tunnel" => matches!(second.as_str(), "path" | "id"),
            word => unqualified(word).is_some(),
        }
    }

    /// What is read from the packet, where such a thing comes next.
    pub(super) fn selector(&mut self) -> Parsed<Option<Selector>> {
        Ok(Some(match self.word() {
            "meta" => {
                self.next();
                Selector::Meta(self.meta()?)
            }
            "ct" => {
                self.next();
                self.ct()?
            }
            "fib" => self.fib()?,
            "socket" => self.socket()?,
            "osf" => self.osf()?,
            "tunnel" => {
                if !matches!(self.word_at(1), "path" | "id") {
                    return Ok(None);
                }
                self.next();
                let key = if self.word() == "id" { TunnelKey::Id } else { TunnelKey::Path };
                self.next();
                Selector::Tunnel(key)
            }
            "numgen" => self.numgen()?,
            "symhash" => {
                self.next();
                Selector::SymmetricHash(self.modulus()?)
            }
            "rt" => self.rt()?,
            "exthdr" => {
                self.next();
                let name = self.take_word()?;
                let number = OptionField::number_of(OptionKind::Ipv6, &name);
                let known = ["hbh", "rt", "frag", "dst", "mh"].contains(&name.as_str());
                let number = number
                    .filter(|_| known)
                    .ok_or_else(|| Fault::new(self.last, "unknown extension header"))?;
                Selector::Option(OptionField::presence_of(OptionKind::Ipv6, number))
            }
            "hbh" | "dst" | "mh" | "frag" | "rt0" | "srh" | "rt2" => {
                let header = self.take_word()?;
                self.extension_header(&header)?
            }
            "ipsec" => {
                if !matches!(self.word_at(1), "in" | "out") {
                    return self.header_or_key();
                }
                self.ipsec()?
            }
            _ => return self.header_or_key(),
        }))
    }

    /// A field of a header, or a key of `meta` without that word.
    fn header_or_key(&mut self) -> Parsed<Option<Selector>> {
        let word = self.word();
        if let Some(protocol) = protocol(word) {
            self.next();
            return self.field(protocol).map(Some);
        }
        let Some(key) = unqualified(word) else { return Ok(None) };
        self.next();
        Ok(Some(Selector::Meta(key)))
    }

    fn take_word(&mut self) -> Parsed<String> {
        let word = self.word().to_owned();
        if word.is_empty() {
            return Err(self.unexpected());
        }
        self.next();
        Ok(word)
    }

    fn meta(&mut self) -> Parsed<MetaKey> {
        let Some(key) = meta_key(self.word()) else {
            let token = self.peek();
            if token.kind != Kind::Word {
                return Err(self.unexpected());
            }
            let known: Vec<_> = (0..=34).map(|number| meta_name(MetaKey::from_number(number)).0).collect();
            let (found, known) = (self.text_of(token), known.join(", "));
            let message = format!("syntax error, unexpected {found}, known keys are {known}");
            return Err(Fault::new(self.last.to(token.span), message));
        };
        self.next();
        Ok(key)
    }

    fn field(&mut self, protocol: Protocol) -> Parsed<Selector> {
        let field = match (protocol, self.word()) {
            (Protocol::Ip, "option") => {
                self.next();
                return self.ip_option();
            }
            (Protocol::Tcp, "option") => {
                self.next();
                return self.tcp_option();
            }
            (Protocol::Sctp, "chunk") => {
                self.next();
                return self.chunk();
            }
            (Protocol::Icmp6, "param-problem") => protocol.field("parameter-problem"),
            (Protocol::Vlan, "cfi") => protocol.field("dei"),
            (Protocol::Arp, first @ ("saddr" | "daddr")) => {
                let first = first.to_owned();
                protocol.field(&format!("{first} {}", self.word_at(1)))
            }
            (_, name) => protocol.field(name),
        };
        let Some(field) = field else { return Err(self.unexpected()) };
        self.next();
        if field.name.contains(' ') {
            self.next();
        }
        Ok(Selector::Payload(field))
    }

    fn ip_option(&mut self) -> Parsed<Selector> {
        let option = self.take_word()?;
        self.option(OptionKind::Ipv4, &option)
    }

    /// A field of the option, or whether there is one.
    fn option(&mut self, kind: OptionKind, option: &str) -> Parsed<Selector> {
        let Some(number) = OptionField::number_of(kind, option) else {
            return Err(Fault::new(self.last, format!("unknown option {option}")));
        };
        match OptionField::named(kind, option, self.word()) {
            Some(field) => {
                self.next();
                Ok(Selector::Option(field))
            }
            None => Ok(Selector::Option(OptionField::presence_of(kind, number))),
        }
    }

    fn tcp_option(&mut self) -> Parsed<Selector> {
        if self.sign(Sign::At) {
            let number = self.tcp_option_number()?.0;
            self.expect(Sign::Comma)?;
            let (offset, len) = self.offset_and_len()?;
            let to_u16 = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
            let (offset, len) = (to_u16(offset), to_u16(len));
            return Ok(Selector::Option(OptionField {
                kind: OptionKind::Tcp,
                number,
                offset,
                len,
                presence: false,
            }));
        }
        let (number, name, block) = self.tcp_option_number()?;
        let field = match self.word() {
            "length" => {
                Some(OptionField { kind: OptionKind::Tcp, number, offset: 8, len: 8, presence: false })
            }
            field => name.and_then(|name| OptionField::named(OptionKind::Tcp, name, field)),
        };
        match field {
            Some(field) => {
                self.next();
                let moved = if field.offset >= 16 { 64 * block } else { 0 };
                Ok(Selector::Option(OptionField { offset: field.offset + moved, ..field }))
            }
            None => Ok(Selector::Option(OptionField::presence_of(OptionKind::Tcp, number))),
        }
    }

    /// An option's number, its name, and which of the blocks of `sack`.
    pub(super) fn tcp_option_number(&mut self) -> Parsed<(u8, Option<&'static str>, u16)> {
        if self.at(Kind::Number) {
            let number = self.number()?;
            let number = u8::try_from(number).map_err(|_| Fault::new(self.last, "value too large"))?;
            return Ok((number, None, 0));
        }
        let (name, block) = match self.word() {
            "mss" | "maxseg" => ("maxseg", 0),
            "sack-permitted" | "sack-perm" => ("sack-perm", 0),
            "sack" | "sack0" => ("sack", 0),
            "sack1" => ("sack", 1),
            "sack2" => ("sack", 2),
            "sack3" => ("sack", 3),
            "window" => ("window", 0),
            "timestamp" => ("timestamp", 0),
            "eol" => ("eol", 0),
            "nop" => ("nop", 0),
            "fastopen" => ("fastopen", 0),
            "md5sig" => ("md5sig", 0),
            "mptcp" => ("mptcp", 0),
            // TCPOPT_KIND_ECHO
            "echo" => {
                self.next();
                return Ok((6, None, 0));
            }
            _ => return Err(self.unexpected()),
        };
        self.next();
        let number = OptionField::number_of(OptionKind::Tcp, name).unwrap_or(0);
        Ok((number, Some(name), block))
    }

    fn chunk(&mut self) -> Parsed<Selector> {
        let chunk = self.take_word()?;
        self.option(OptionKind::Sctp, &chunk)
    }

    fn extension_header(&mut self, name: &str) -> Parsed<Selector> {
        let mut field = self.take_word()?;
        if self.sign(Sign::BracketOpen) {
            let number = self.number()?;
            self.expect(Sign::BracketClose)?;
            field = format!("{field}[{number}]");
        }
        let found = OptionField::named(OptionKind::Ipv6, name, &field);
        found.map(Selector::Option).ok_or_else(|| Fault::new(self.last, format!("unknown field of {name}")))
    }

    /// `rt` is the route that was looked up, and a header of IPv6.
    fn rt(&mut self) -> Parsed<Selector> {
        self.next();
        let family = self.network_family();
        if family.is_none()
            && let Some(field) = OptionField::named(OptionKind::Ipv6, "rt", self.word())
        {
            self.next();
            return Ok(Selector::Option(field));
        }
        let key = match (self.word(), family) {
            ("classid", None) => RtKey::ClassId,
            ("nexthop", Some(Family::Ipv6)) => RtKey::NextHop6,
            ("nexthop", Some(_)) => RtKey::NextHop4,
            ("nexthop", None) => NEXT_HOP,
            ("mtu", None) => RtKey::TcpMss,
            ("ipsec", None) => RtKey::Xfrm,
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(Selector::Rt(key))
    }

    /// `ip` or `ip6`.
    pub(super) fn network_family(&mut self) -> Option<Family> {
        let family = match self.word() {
            "ip" => Family::Ipv4,
            "ip6" => Family::Ipv6,
            _ => return None,
        };
        self.next();
        Some(family)
    }

    fn ct(&mut self) -> Parsed<Selector> {
        let reply = match self.word() {
            "original" => false,
            "reply" => true,
            word => {
                let known = (0..=23).map(CtKey::from_number).filter(|key| !ct_name(*key).contains(' '));
                let Some(key) = known.into_iter().find(|key| ct_name(*key) == word) else {
                    return Err(self.unexpected());
                };
                self.next();
                return Ok(Selector::Ct(key));
            }
        };
        self.next();
        let word = match self.network_family() {
            Some(family) => format!("{family} {}", self.word()),
            None => self.word().to_owned(),
        };
        let key = (0..=23).map(CtKey::from_number).find(|key| ct_name(*key) == word);
        let Some(key) = key else { return Err(self.unexpected()) };
        let of_direction = matches!(
            key,
            CtKey::Src
                | CtKey::Dst
                | CtKey::SrcIp
                | CtKey::DstIp
                | CtKey::SrcIp6
                | CtKey::DstIp6
                | CtKey::L3Protocol
                | CtKey::Protocol
                | CtKey::ProtoSrc
                | CtKey::ProtoDst
                | CtKey::Bytes
                | CtKey::Pkts
                | CtKey::Avgpkt
                | CtKey::Zone
        );
        if !of_direction {
            return Err(self.unexpected());
        }
        self.next();
        Ok(Selector::CtOf(CtOf { key, reply, family: None }))
    }

    fn fib(&mut self) -> Parsed<Selector> {
        self.next();
        let start = self.peek().span;
        let mut flags = 0;
        loop {
            let Some(bit) = Fib::FLAGS.iter().position(|name| *name == self.word()) else {
                return Err(self.unexpected());
            };
            self.next();
            flags |= 1 << bit;
            if !self.sign(Sign::Dot) {
                break;
            }
        }
        let span = start.to(self.last);
        const ADDRESSES: u32 = uapi::NFTA_FIB_F_SADDR | uapi::NFTA_FIB_F_DADDR;
        const DEVICES: u32 = uapi::NFTA_FIB_F_IIF | uapi::NFTA_FIB_F_OIF;
        if flags & ADDRESSES == 0 {
            return Err(Fault::new(span, "fib: need either saddr or daddr"));
        }
        if flags & ADDRESSES == ADDRESSES {
            return Err(Fault::new(span, "fib: saddr and daddr are mutually exclusive"));
        }
        if flags & DEVICES == DEVICES {
            return Err(Fault::new(span, "fib: iif and oif are mutually exclusive"));
        }
        let result = match self.word() {
            "oif" => FibResult::Oif,
            "oifname" => FibResult::OifName,
            "type" => FibResult::AddrType,
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(Selector::Fib(Fib { flags, result }))
    }

    fn socket(&mut self) -> Parsed<Selector> {
        self.next();
        let key = match self.word() {
            "transparent" => SocketKey::Transparent,
            "mark" => SocketKey::Mark,
            "wildcard" => SocketKey::Wildcard,
            "cgroupv2" => {
                self.next();
                self.expect_keyword("level")?;
                return Ok(Selector::Socket(SocketKey::CgroupV2, self.number_32()?));
            }
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(Selector::Socket(key, 0))
    }

    fn osf(&mut self) -> Parsed<Selector> {
        self.next();
        let ttl = if self.keyword("ttl") {
            let ttl = match self.word() {
                "loose" => 1,
                "skip" => 2,
                _ => return Err(Fault::new(self.peek().span, "invalid ttl option")),
            };
            self.next();
            ttl
        } else {
            0
        };
        let version = match self.word() {
            "version" => true,
            "name" => false,
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(Selector::Osf(Osf { ttl, version }))
    }

    fn ipsec(&mut self) -> Parsed<Selector> {
        self.next();
        let out = self.take_word()? == "out";
        let spnum = if self.keyword("spnum") { self.number_32()? } else { 0 };
        let family = self.network_family();
        let key = match (self.word(), family) {
            ("daddr", Some(Family::Ipv4)) => XfrmKey::DaddrIp4,
            ("daddr", Some(_)) => XfrmKey::DaddrIp6,
            ("saddr", Some(Family::Ipv4)) => XfrmKey::SaddrIp4,
            ("saddr", Some(_)) => XfrmKey::SaddrIp6,
            ("reqid", None) => XfrmKey::ReqId,
            ("spi", None) => XfrmKey::Spi,
            _ => return Err(self.unexpected()),
        };
        self.next();
        if spnum > 0xff {
            return Err(Fault::new(self.last, "value too large"));
        }
        Ok(Selector::Ipsec(Ipsec { key, out, spnum }))
    }

    fn numgen(&mut self) -> Parsed<Selector> {
        self.next();
        let random = match self.word() {
            "inc" => false,
            "random" => true,
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(Selector::Numgen(Numgen { random, range: self.modulus()? }))
    }

    /// `mod MODULUS offset OFFSET`
    fn modulus(&mut self) -> Parsed<HashRange> {
        self.expect_keyword("mod")?;
        let modulus = self.number_32()?;
        let offset = if self.keyword("offset") { self.number_32()? } else { 0 };
        Ok(HashRange { modulus, offset })
    }

    /// `@nh,OFFSET,LENGTH`
    pub(super) fn raw_payload(&mut self) -> Parsed<Selector> {
        self.expect(Sign::At)?;
        let base = match self.word() {
            "ll" => PayloadBase::LinkLayer,
            "nh" => PayloadBase::Network,
            "th" => PayloadBase::Transport,
            "ih" => PayloadBase::Inner,
            _ => return Err(Fault::new(self.peek().span, "unknown raw payload base")),
        };
        self.next();
        self.expect(Sign::Comma)?;
        let (offset, len) = self.offset_and_len()?;
        Ok(Selector::Raw(RawPayload { base, offset, len }))
    }

    fn offset_and_len(&mut self) -> Parsed<(u32, u32)> {
        let offset = self.number_32()?;
        self.expect(Sign::Comma)?;
        let len = self.number_32()?;
        // A register's 16 bytes, and a header that a packet can have.
        if len == 0 || len > 128 || offset > 0xffff {
            return Err(Fault::new(self.last, "raw payload out of range"));
        }
        Ok((offset, len))
    }
}
