//! Random rules of all families: what nft makes of them is read, compiled, loaded into another namespace and listed there.
//!
//! `MESHWIRE_RANDOM_ROUNDS` says how many rounds; each has other rules.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::{env, thread};

use crate::{Count, can_run, circle, enter, read};

/// Some seconds.
const ROUNDS: u64 = 2;
/// For each family and round; nft takes about a third of them.
const RULES: usize = 40;

const TABLES: [(&str, &str); 6] = [
    ("ip", "type filter hook input priority 0"),
    ("ip6", "type filter hook input priority 0"),
    ("inet", "type filter hook input priority 0"),
    ("bridge", "type filter hook input priority 0"),
    ("netdev", "type filter hook ingress device lo priority 0"),
    ("arp", "type filter hook input priority 0"),
];

/// What a value is made of.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Bits
    Number(u32),
    Address,
    Address6,
    Mac,
    Device,
    /// One of these
    Words(&'static [&'static str]),
    /// Any of these together
    Flags(&'static [&'static str]),
}

use Kind::{Address, Address6, Device, Flags, Mac, Number, Words};

const PROTOCOLS: Kind = Words(&["tcp", "udp", "icmp", "ipv6-icmp", "esp", "sctp"]);
const DSCP: Kind = Words(&["cs0", "cs1", "af11", "af41", "ef", "0x21"]);
const STATES: Kind = Flags(&["established", "related", "new", "untracked", "invalid"]);
const TCP_FLAGS: Kind = Flags(&["fin", "syn", "rst", "psh", "ack", "urg"]);

const SELECTORS: &[(&str, Kind)] = &[
    ("meta length", Number(32)),
    ("meta nfproto", Words(&["ipv4", "ipv6"])),
    ("meta l4proto", PROTOCOLS),
    ("meta protocol", Words(&["ip", "ip6", "arp", "vlan"])),
    ("meta priority", Words(&["1:2", "aa:bb", "none"])),
    ("meta mark", Number(32)),
    ("iifname", Device),
    ("oifname", Device),
    ("iif", Words(&["\"lo\""])),
    ("meta iiftype", Words(&["ether", "loopback", "ppp"])),
    ("meta skuid", Number(32)),
    ("meta skgid", Number(32)),
    ("meta rtclassid", Number(31)),
    ("meta pkttype", Words(&["host", "broadcast", "multicast", "other"])),
    ("meta cpu", Number(16)),
    ("meta iifgroup", Number(31)),
    ("meta cgroup", Number(31)),
    ("meta random", Number(32)),
    ("meta day", Words(&["\"Monday\"", "\"Sunday\""])),
    ("ct state", STATES),
    ("ct status", Flags(&["seen-reply", "assured", "confirmed", "snat", "dnat"])),
    ("ct direction", Words(&["original", "reply"])),
    ("ct mark", Number(32)),
    ("ct zone", Number(16)),
    ("ct id", Number(32)),
    ("ct expiration", Words(&["30s", "1m30s", "1h"])),
    ("ct original packets", Number(40)),
    ("ct reply bytes", Number(40)),
    ("ct avgpkt", Number(30)),
    ("ct original protocol", PROTOCOLS),
    ("ct original proto-dst", Number(16)),
    ("ct original ip saddr", Address),
    ("ct reply ip6 daddr", Address6),
    ("ip saddr", Address),
    ("ip daddr", Address),
    ("ip protocol", PROTOCOLS),
    ("ip dscp", DSCP),
    ("ip ecn", Words(&["ce", "ect0", "ect1", "not-ect"])),
    ("ip hdrlength", Number(4)),
    ("ip length", Number(16)),
    ("ip id", Number(16)),
    ("ip frag-off", Number(13)),
    ("ip ttl", Number(8)),
    ("ip6 saddr", Address6),
    ("ip6 daddr", Address6),
    ("ip6 dscp", DSCP),
    ("ip6 flowlabel", Number(20)),
    ("ip6 nexthdr", PROTOCOLS),
    ("ip6 hoplimit", Number(8)),
    ("tcp sport", Number(16)),
    ("tcp dport", Number(16)),
    ("tcp sequence", Number(32)),
    ("tcp doff", Number(4)),
    ("tcp flags", TCP_FLAGS),
    ("tcp window", Number(16)),
    ("tcp option maxseg size", Number(16)),
    ("tcp option window count", Number(8)),
    ("udp dport", Number(16)),
    ("udp length", Number(16)),
    ("th dport", Number(16)),
    ("sctp dport", Number(16)),
    ("dccp sport", Number(16)),
    ("esp spi", Number(32)),
    ("ah spi", Number(32)),
    ("icmp type", Words(&["echo-request", "echo-reply", "redirect", "time-exceeded"])),
    ("icmp code", Number(8)),
    ("icmp id", Number(16)),
    ("icmpv6 type", Words(&["echo-request", "nd-neighbor-solicit", "packet-too-big"])),
    ("icmpv6 mtu", Number(32)),
    ("ether saddr", Mac),
    ("ether daddr", Mac),
    ("ether type", Words(&["ip", "ip6", "arp"])),
    ("vlan id", Number(12)),
    ("arp operation", Words(&["request", "reply"])),
    ("arp saddr ip", Address),
    ("frag more-fragments", Number(1)),
    ("rt type", Number(8)),
    ("ip option ra value", Number(16)),
    ("socket transparent", Number(1)),
    ("socket mark", Number(32)),
    ("fib saddr . iif oif", Words(&["0", "\"lo\""])),
    ("fib daddr type", Words(&["local", "unicast", "broadcast"])),
    ("rt classid", Number(31)),
    ("numgen inc mod 10", Number(3)),
    ("jhash ip saddr mod 8", Number(3)),
    ("symhash mod 4", Number(2)),
    ("@nh,8,16", Number(16)),
    ("@th,160,32", Number(32)),
];

/// xorshift64*: the same rules in every run.
struct Dice(u64);

impl Dice {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn roll(&mut self, sides: usize) -> usize {
        usize::try_from(self.number()).unwrap() % sides
    }

    fn bits(&mut self, bits: u32) -> u64 {
        self.number() & ((1 << bits) - 1)
    }

    fn selector(&mut self) -> (&'static str, Kind) {
        SELECTORS[self.roll(SELECTORS.len())]
    }

    fn value(&mut self, kind: Kind) -> String {
        match kind {
            Number(bits) => self.bits(bits).to_string(),
            Address => format!("10.{}.{}.{}", self.roll(4), self.roll(256), self.roll(256)),
            Address6 => format!("fd00:{:x}::{:x}", self.roll(4), self.roll(65_536)),
            Mac => format!("02:00:00:00:{:02x}:{:02x}", self.roll(256), self.roll(256)),
            Device => ["\"lo\"", "\"eth0\"", "\"eth*\""][self.roll(3)].to_owned(),
            Words(words) | Flags(words) => words[self.roll(words.len())].to_owned(),
        }
    }

    /// A value, a prefix or a range.
    fn span(&mut self, kind: Kind) -> String {
        match (kind, self.roll(3)) {
            (Number(bits), 0) if bits > 1 => {
                let (from, to) = (self.bits(bits - 1), self.bits(bits - 1) + (1 << (bits - 1)));
                format!("{from}-{to}")
            }
            (Address, 0) => format!("10.{}.{}.0/{}", self.roll(4), self.roll(4) * 64, 18 + self.roll(13)),
            (Address, 1) => format!("10.0.{0}.1-10.{1}.0.9", self.roll(9), 1 + self.roll(9)),
            (Address6, 0) => format!("fd00:{:x}::/{}", self.roll(4), 24 + self.roll(100)),
            (kind, _) => self.value(kind),
        }
    }

    fn set(&mut self, mut item: impl FnMut(&mut Self) -> String) -> String {
        let items: Vec<_> = (0..=self.roll(4)).map(|_| item(self)).collect();
        format!("{{ {} }}", items.join(", "))
    }

    fn matching(&mut self) -> String {
        let (selector, kind) = self.selector();
        let not = ["", "", "!= "][self.roll(3)];
        match (self.roll(9), kind) {
            (0, Number(_)) => {
                format!("{selector} {} {}", ["<", ">", "<=", ">="][self.roll(4)], self.value(kind))
            }
            (1, Number(bits)) if bits.is_multiple_of(8) => {
                format!("{selector} & {} == {}", self.value(kind), self.value(kind))
            }
            (0 | 1, Flags(_)) => {
                let [one, other] = [0; 2].map(|_| self.value(kind));
                format!("{selector} & ({one} | {other}) {} {one}", ["==", "!="][self.roll(2)])
            }
            (2, Flags(_)) => format!("{selector} {}", [0; 2].map(|_| self.value(kind)).join(",")),
            (3 | 4, kind) => format!("{selector} {not}{}", self.set(|dice| dice.span(kind))),
            (5, kind) => {
                // nft 1.0.6 loses how long bytes without a name are where they are one of several fields.
                let [(selector, kind), (second, other)] = match (selector, self.selector()) {
                    (one, (other, _)) if one.starts_with('@') || other.starts_with('@') => {
                        [("tcp dport", Number(16)), ("ip saddr", Address)]
                    }
                    (one, other) => [(one, kind), other],
                };
                let fields = |dice: &mut Self| format!("{} . {}", dice.span(kind), dice.span(other));
                format!("{selector} . {second} {not}{}", self.set(fields))
            }
            (6, kind) => {
                let verdict = |dice: &mut Self| ["accept", "drop", "continue", "jump other"][dice.roll(4)];
                let element = |dice: &mut Self| format!("{} : {}", dice.span(kind), verdict(dice));
                format!("{selector} vmap {}", self.set(element))
            }
            (_, kind) => format!("{selector} {not}{}", self.span(kind)),
        }
    }

    fn statement(&mut self) -> String {
        let (selector, kind) = self.selector();
        let number = self.bits(16);
        match self.roll(20) {
            0 => "counter".to_owned(),
            1 => format!("limit rate {}{}/minute burst 7 packets", ["", "over "][self.roll(2)], 1 + number),
            2 => format!("limit rate {} kbytes/second", 1 + number),
            3 => format!("quota {}{number} bytes", ["", "over "][self.roll(2)]),
            4 => format!("log prefix \"random {number}\" level info flags all"),
            5 => format!("log group {number} snaplen 80"),
            6 => format!("meta mark set {number}"),
            7 => format!("meta mark set ct mark & {number} | 1"),
            8 => format!("ct mark set meta mark ^ {number}"),
            9 => format!(
                "meta mark set {selector} map {}",
                self.set(|dice| { format!("{} : {}", dice.span(kind), dice.bits(32)) })
            ),
            10 => format!("ip dscp set {}", self.value(DSCP)),
            11 => format!("tcp dport set {number}"),
            12 => format!("ip6 hoplimit set {}", self.roll(256)),
            13 => format!("reject{}", ["", " with tcp reset", " with icmp host-unreachable"][self.roll(3)]),
            14 => format!("queue num {number} bypass"),
            15 => format!("add @seen {{ ip saddr timeout {}s }}", 1 + self.roll(90)),
            16 => "jump other".to_owned(),
            17 => format!("meta priority set {}:{}", self.roll(9), self.roll(9)),
            18 => "notrack".to_owned(),
            _ => ["accept", "drop", "return", "continue"][self.roll(4)].to_owned(),
        }
    }

    fn rule(&mut self) -> String {
        let mut rule = String::new();
        for _ in 0..=self.roll(3) {
            let _ = write!(rule, "{} ", self.matching());
        }
        rule + &self.statement()
    }
}

#[test]
fn random_rules_say_all_that_the_kernel_holds() {
    if !can_run() {
        return;
    }
    let rounds = env::var("MESHWIRE_RANDOM_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let counts =
        (1..=rounds).map(|round| thread::scope(|scope| scope.spawn(|| self::round(round)).join().unwrap()));
    let (rules, kept) = counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    println!("{rules} random rules, {kept} of which compile only to what they were read from");
    assert!(rules > 30 * usize::try_from(rounds).unwrap(), "nft takes too few: {rules}");
}

fn nft(command: &str) -> bool {
    Command::new("nft").arg(command).stderr(Stdio::null()).status().unwrap().success()
}

/// How many rules nft took, and how many say less than the kernel holds.
fn round(number: u64) -> (usize, usize) {
    let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    enter();
    for (family, chain) in TABLES {
        let table = format!(
            "table {family} t {{ set seen {{ type ipv4_addr; flags dynamic,timeout; }}; chain other {{ }}; \
             chain c {{ {chain}; }}; }}"
        );
        assert!(nft(&table), "{table}");
        for _ in 0..RULES {
            // One alone: what nft does not take, or fails at, is left out.
            nft(&format!("add rule {family} t c {}", dice.rule()));
        }
    }
    let first = read();
    let ruleset = first.ruleset().unwrap();
    let mut count = Count::default();
    count.ruleset(&first, &ruleset);
    assert_eq!((count.differing, count.rejected.len()), (0, 0), "{:?} {}", count.rejected, count.different);
    circle(&first, &ruleset);
    (count.same, count.kept)
}
