//! Random rulesets, made by the grammar.

use std::env;

use meshwire_testkit::full;

use crate::harness::{Nft, can_run, inside, loaded, say, text};

/// What rules look up and fill.
const SETS: &str = "\tset addresses { type ipv4_addr; flags dynamic, timeout; size 64; }
\tmap marks { type ipv4_addr : mark; flags dynamic; size 64; }
\tset ports { type inet_service; flags interval; elements = { 80, 1000-2000 }; }
\tmap verdicts { type inet_service : verdict; elements = { 80 : accept }; }
";

/// What is read from packets, of many types; no number in the packet's byte order that a mark or a zone can be set to, since nft
/// 1.0.6 does not convert it.
const VALUES: &[&str] = &[
    "ip saddr",
    "ip daddr",
    "ip protocol",
    "ip dscp",
    "ip id",
    "ip ttl",
    "tcp sport",
    "tcp dport",
    "udp length",
    "meta mark",
    "ct mark",
    "meta priority",
    "meta skuid",
    "meta iif",
    "meta length",
    "meta l4proto",
    "meta cpu",
    "ct zone",
    "ct original ip saddr",
    "numgen inc mod 4",
    "jhash ip saddr mod 8",
    "rt mtu",
    "meta mark & 0xff",
    "ip saddr & 255.255.255.0",
];

/// What rules set.
const TARGETS: &[&str] =
    &["meta mark", "meta priority", "ct mark", "ip saddr", "ip ttl", "tcp dport", "meta pkttype"];

/// xorshift64*: the same rulesets in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(round: u64) -> Self {
        Self(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }

    fn list(&mut self, mut item: impl FnMut(&mut Self) -> String) -> String {
        let count = 1 + self.roll(4);
        let items: Vec<_> = (0..count).map(|_| item(self)).collect();
        format!("{{ {} }}", items.join(", "))
    }

    fn port(&mut self) -> String {
        (1 + self.roll(65_000)).to_string()
    }

    fn ports(&mut self) -> String {
        // Ranges apart from each other, so that they never overlap.
        let from = 1 + 1_000 * self.roll(60);
        match self.roll(3) {
            0 => format!("{from}-{}", from + 1 + self.roll(900)),
            _ => from.to_string(),
        }
    }

    fn address(&mut self) -> String {
        format!("10.{}.{}.{}", self.roll(256), self.roll(256), self.roll(256))
    }

    fn network(&mut self) -> String {
        match self.roll(3) {
            0 => format!("{}/{}", self.address(), 9 + self.roll(23)),
            1 => format!("10.{0}.0.1-10.{0}.0.{1}", self.roll(256), 2 + self.roll(200)),
            _ => self.address(),
        }
    }

    fn address6(&mut self) -> String {
        format!("fd00:{:x}::{:x}", self.roll(65_536), self.roll(65_536))
    }

    fn matching(&mut self) -> String {
        let op = self.pick(&["", "", "== ", "!= "]);
        match self.roll(18) {
            0 => format!("tcp dport {op}{}", self.ports()),
            1 => format!("tcp sport {}", self.list(Self::ports)),
            2 => format!("udp dport {op}{}", self.port()),
            3 => format!("ip saddr {op}{}", self.network()),
            4 => format!("ip daddr {op}{}", self.list(Self::address)),
            5 => format!("ip6 saddr {op}{}", self.address6()),
            6 => format!("ip6 daddr {op}{}/{}", self.address6(), 8 * (1 + self.roll(15))),
            7 => format!("iifname {op}\"{}\"", self.pick(&["lo", "eth0", "eth1", "tun0"])),
            8 => format!("meta mark {op}{:#x}", self.roll(1 << 16)),
            9 => format!("meta mark & {:#x} == {:#x}", 1 + self.roll(255), self.roll(2)),
            10 => {
                format!("ct state {}", self.pick(&["new", "established", "established,related", "invalid"]))
            }
            11 => format!("meta skuid {op}{}", self.roll(70_000)),
            12 => format!("meta l4proto {op}{}", self.pick(&["tcp", "udp", "icmp", "{ tcp, udp }"])),
            13 => format!("meta nfproto {op}{}", self.pick(&["ipv4", "ipv6"])),
            // Fields that begin or end inside of a byte.
            14 => {
                let field =
                    self.pick(&["ip dscp", "ip ecn", "ip version", "tcp doff", "vlan id", "vlan pcp"]);
                let operator = self.pick(&["&", "|"]);
                format!("{field} {operator} {} == {}", 1 + self.roll(3), self.roll(4))
            }
            15 => {
                let element = |dice: &mut Self| format!("{} . {}", dice.address(), dice.ports());
                format!("ip saddr . tcp dport {op}{}", self.list(element))
            }
            16 => format!("tcp flags & (syn | ack) {op}{}", self.pick(&["syn", "ack", "0"])),
            // A few of them do not fit.
            _ if self.roll(4) == 0 => {
                format!("{} @{}", self.pick(VALUES), self.pick(&["addresses", "marks", "ports"]))
            }
            _ => self
                .pick(&["ip saddr @addresses", "ip daddr @marks", "tcp dport @ports", "udp sport @ports"])
                .to_owned(),
        }
    }

    /// One that changes something; of every second one the types do not fit.
    fn setting(&mut self) -> String {
        let value = self.pick(VALUES);
        match self.roll(4) {
            0 => format!("update @addresses {{ {value} timeout {}s }}", 1 + self.roll(90)),
            1 => format!("update @marks {{ ip saddr : {value} }}"),
            2 => format!("{} set {value} map @marks", self.pick(TARGETS)),
            _ => format!("{} set {value}", self.pick(TARGETS)),
        }
    }

    fn verdict_map(&mut self) -> String {
        let port = self.port();
        let verdict = self.pick(&["accept", "drop", "jump d", "continue"]);
        match self.roll(3) {
            0 => format!("tcp dport vmap {{ {port} : {verdict} }}"),
            1 => format!("ip saddr . tcp dport vmap {{ {} . {port} : {verdict} }}", self.address()),
            _ => format!("{} vmap @verdicts", self.pick(&["tcp dport", "udp sport", "th dport", "ip id"])),
        }
    }

    fn verdict(&mut self) -> &'static str {
        self.pick(&[
            "accept",
            "drop",
            "return",
            "continue",
            "jump d",
            "goto d",
            "meta mark set 0x7",
            "ct mark set 3",
        ])
    }

    fn rule(&mut self) -> String {
        let matches: Vec<_> = (0..self.roll(4)).map(|_| self.matching()).collect();
        let counter = self.pick(&["", "counter", "counter packets 1 bytes 2"]);
        let comment = self.pick(&["", "", "comment \"why not\""]);
        let last = match self.roll(16) {
            0 => self.setting(),
            1 | 2 => self.verdict_map(),
            _ => self.verdict().to_owned(),
        };
        let rule = [&matches.join(" "), counter, &last, comment].join(" ");
        rule.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn ruleset(&mut self) -> String {
        let family = self.pick(&["inet", "inet", "inet", "ip", "ip6", "bridge"]);
        let rules: String = (0..=self.roll(4)).map(|_| format!("\t\t{}\n", self.rule())).collect();
        let policy = self.pick(&["accept", "drop"]);
        format!(
            "table {family} t {{\n{SETS}\tchain d {{ counter; }}\n\tchain c {{\n\t\ttype filter hook input priority {}; policy {policy};\n{rules}\t}}\n}}\n",
            self.roll(100)
        )
    }
}

/// A text that nft loads, we load into the same state or refuse; one that nft refuses for what it says, we refuse.
#[test]
fn random_rulesets_leave_the_same_state() {
    if !can_run() {
        return;
    }
    let count = env::var("MESHWIRE_NFT_RULESETS")
        .map_or_else(|_| if full() { 100_000 } else { 500 }, |count| count.parse().unwrap());
    let mut dice = Dice(env::var("MESHWIRE_NFT_SEED").map_or(0x6d65_7368, |seed| seed.parse().unwrap()));
    let (mut same, mut both, mut ours_only) = (0, 0, 0);
    for _ in 0..count {
        let ruleset = dice.ruleset();
        match (loaded(Nft::Theirs, &[&ruleset]), loaded(Nft::Ours, &[&ruleset])) {
            (Ok(theirs), Ok(ours)) => {
                assert_eq!(ours, theirs, "{ruleset}");
                same += 1;
            }
            (Err(_), Err(_)) => both += 1,
            (Ok(_), Err(error)) => {
                ours_only += 1;
                assert!(error.contains("Error: "), "{ruleset}{error}");
                if ours_only < 4 {
                    say(&format!("refused only here:\n{ruleset}{error}"));
                }
            }
            (Err(error), Ok(_)) => panic!("nft refuses, we load:\n{ruleset}{error}"),
        }
    }
    say(&format!("{same} alike, {both} refused by both, {ours_only} only here"));
    assert!(ours_only * 20 <= count, "{ours_only} of {count} are refused only here");
}

/// What we load, we list so that it loads again into the same state.
#[test]
fn random_listings_load_again() {
    if !can_run() {
        return;
    }
    let mut dice = Dice(0x7269_6e67);
    for _ in 0..50 {
        let ruleset = dice.ruleset();
        let listed = inside(|| {
            let loads = Nft::Ours.load(&ruleset).status.success();
            loads.then(|| (crate::harness::state(), text(&Nft::Ours.run(&["list", "ruleset"]).stdout)))
        });
        let Some((state, listing)) = listed else { continue };
        assert_eq!(loaded(Nft::Ours, &[&listing]).as_ref(), Ok(&state), "{listing}");
    }
}
