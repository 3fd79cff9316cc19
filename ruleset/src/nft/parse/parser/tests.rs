use super::*;
use crate::nft::parse::syntax::CommandKind;

fn read(text: &str) -> Result<Vec<Command>, Vec<String>> {
    let mut sources = Sources::default();
    let source = sources.add(Source { name: None, text: text.to_owned(), included: None });
    let commands = parse(&mut sources, source, &mut NoFiles, &mut Variables::default());
    commands.map_err(|faults| faults.iter().map(|fault| fault.render(&sources)).collect())
}

#[test]
fn several_commands_on_a_line() {
    let commands = read("add table inet t; add chain inet t c\nlist ruleset").unwrap();
    assert_eq!(commands.len(), 3);
    assert!(matches!(&commands[0].kind, CommandKind::AddTable(_, table, None) if &*table.name.text == "t"));
}

#[test]
fn a_keyword_may_be_a_name() {
    read("add chain inet t mark; add rule inet t mark jump counter; add chain ip limit log").unwrap();
}

#[test]
fn numbers_as_in_c() {
    assert_eq!(parse_number("010"), Some(8));
    assert_eq!(parse_number("0x1F"), Some(31));
    assert_eq!(parse_number("0"), Some(0));
    assert_eq!(parse_number("18446744073709551616"), None);
}

#[test]
fn durations() {
    assert_eq!(parse_duration("1d2h3m4s5ms"), Some(93_784_005));
    assert_eq!(parse_duration("10s"), Some(10_000));
    for bad in ["", "10", "s", "1s1m", "1x"] {
        assert_eq!(parse_duration(bad), None, "{bad}");
    }
}

#[test]
fn every_fault_of_a_file() {
    let text = "add table inet t {\n\tchain c {\n\t\ttcp dport\n\t\tcounter accept\n\t\tfoo bar baz quux }\n\t}\n}\n";
    let faults = read(text).unwrap_err();
    assert!(faults[0].contains("syntax error, unexpected newline"), "{faults:?}");
}

#[test]
fn variables() {
    read("define x = { 1.1.1.1, 2.2.2.2 }\nadd rule t c ip saddr $x").unwrap();
    let faults = read("add rule t c ip saddr $y").unwrap_err();
    let shown = "Error: unknown identifier 'y'\nadd rule t c ip saddr $y\n                       ^\n";
    assert_eq!(faults, [shown]);
    let faults = read("define x = 1\ndefine x = 2\nundefine y").unwrap_err();
    assert!(faults[0].contains("redefinition of symbol 'x'"), "{faults:?}");
    read("define x = 1\nredefine x = 2\nundefine x").unwrap();
}

#[test]
fn rules_of_every_kind() {
    let rules = [
        "ct state established,related accept",
        "tcp flags & (fin | syn) == syn counter packets 1 bytes 2 log prefix \"x \" level warn",
        "tcp flags syn / fin,syn,rst,ack drop",
        "ip saddr . tcp dport { 1.1.1.1 . 22, 2.2.2.0/24 . 80-90 } accept",
        "meta mark set ct mark map { 1 : 2, * : 3 }",
        "ct mark set mark and 0xff",
        "dnat ip addr . port to ip saddr map { 1.1.1.1 : 2.2.2.2 . 30 }",
        "snat to 1.1.1.1-1.1.1.5:1000-2000 random,persistent",
        "ip daddr vmap { 1.1.1.1 : jump a, 2.2.2.2 : drop }",
        "add @s { ip saddr timeout 10s limit rate 1/second : 5 }",
        "meter m size 100 { ip saddr timeout 1m limit rate over 10 mbytes/second burst 1 mbytes }",
        "jump { ip saddr 1.1.1.1 accept; drop }",
        "fib daddr . iif type != { local, broadcast } reject with icmpx type port-unreachable",
        "numgen inc mod 2 vmap { 0 : jump a, 1 : goto b }",
        "tproxy ip6 to [::1]:50080 accept",
        "queue flags bypass,fanout to 1-3",
        "reset tcp option mss comment \"the end\"",
        "tcp option sack1 left 1 tcp option maxseg size set rt mtu",
        "iifname \"eth*\" oif lo ip ttl set 3 notrack",
        "@nh,96,32 0xc0a80101 redirect to :80",
    ];
    for rule in rules {
        read(&format!("add rule inet t c {rule}"))
            .unwrap_or_else(|faults| panic!("{rule}: {}", faults.concat()));
    }
}

#[test]
fn nesting_has_an_end() {
    let deep = format!("add rule t c meta mark {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(read(&deep).unwrap_err()[0].contains("nested too deeply"));
    let deep = format!("add rule t c {}", "jump { ".repeat(5_000));
    assert!(read(&deep).is_err());
}
