use super::*;
use crate::nft::parse::syntax::{CommandKind, ExprKind};

fn read(text: &str) -> Result<Vec<Command>, Vec<String>> {
    let mut sources = Sources::default();
    let source = sources.add(Source { name: None, text: text.to_owned().into(), included: None });
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
fn rules_are_read_again_from_their_text() {
    let rules = [
        "ip saddr 1.2.3.4 counter accept",
        "ip saddr $x drop",
        "log prefix \"$x\"",
        "add @s { ip saddr }",
        "jump { accept; }",
        "tcp dport { 22, 80 } \\\n\taccept comment \"a # b\"",
    ];
    let text = format!("define x = 1.2.3.4\ntable inet t {{ chain c {{ {} }} }}\n", rules.join("\n"));
    let mut sources = Sources::default();
    sources.add(Source { name: None, text: "list ruleset".to_owned().into(), included: None });
    let source = sources.add(Source { name: None, text: text.into(), included: None });
    let commands = parse(&mut sources, source, &mut NoFiles, &mut Variables::default()).unwrap();
    let CommandKind::AddTable(_, _, Some(block)) = &commands[0].kind else { panic!("{commands:?}") };
    let kept = &block.chains[0].1.rules;
    let whole: Vec<_> = kept.kept_whole().map(|rule| sources.slice(rule.span)).collect();
    assert_eq!(whole, rules[1..5], "what names variables or changes sets");
    let mut read = Vec::new();
    each_rule(kept, &mut |rule| read.push((sources.slice(rule.span).to_owned(), rule.statements.len())))
        .unwrap();
    let expected: Vec<_> = rules.iter().map(|rule| (*rule).to_owned()).zip([3, 2, 1, 1, 1, 2]).collect();
    assert_eq!(read, expected);
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

/// The rules of the chains of a text as they are read, or what is wrong.
fn rules_of(text: &str, leaves_rules: bool) -> Result<Vec<String>, Vec<Fault>> {
    let mut sources = Sources::default();
    let source = sources.add(Source { name: None, text: text.to_owned().into(), included: None });
    let commands = super::read(&mut sources, source, &mut NoFiles, &mut Variables::default(), leaves_rules)?;
    let mut rules = Vec::new();
    for command in &commands {
        let CommandKind::AddTable(_, _, Some(block)) = &command.kind else { continue };
        for (_, chain) in &block.chains {
            let read = each_rule(&chain.rules, &mut |rule| rules.push(format!("{rule:?}")));
            read.map_err(|fault| vec![fault])?;
        }
    }
    Ok(rules)
}

#[test]
fn rules_that_are_left_unread_are_read_alike() {
    let rules = [
        "ip saddr 1.2.3.4 counter accept",
        "  iifname \"eth0\" log prefix \"a # b { ; \" # a comment",
        "log prefix \"a # b { ; @y \\ \" comment \"é\"",
        "# a comment alone",
        "tcp dport { 22, 80 } accept; counter",
        "ip saddr @s \\\n drop",
        "ct state established,related accept\r",
        "tcp flags & (fin | syn) == syn counter comment open",
        "log prefix \"two\nlines\"",
        "counter; counter",
        "type filter hook input priority 0; policy drop;",
        "add @s { ip saddr }\n\n\tdrop",
        "set add ip saddr timeout 10s @s",
        "jump { accept; }",
        "define y = 1.1.1.1\nip saddr $y log prefix \"a $y\"\nlog prefix \"$y\"",
    ];
    let text = format!("table inet t {{\n\tchain c {{\n{}\n\t}}\n}}\n", rules.join("\n"));
    let all = rules_of(&text, false).unwrap();
    assert_eq!(all.len(), 17);
    assert_eq!(rules_of(&text, true).unwrap(), all);
}

#[test]
fn what_is_wrong_with_rules_that_were_left_unread_is_found_later() {
    for wrong in ["tcp dport", "counter accept )", "comment \"a\" accept", "counter é"] {
        let text = format!("table inet t {{\n\tchain c {{\n\t\tcounter\n\t\t{wrong}\n\t\tdrop\n\t}}\n}}\n");
        let faults = rules_of(&text, false).unwrap_err();
        assert_eq!(rules_of(&text, true).unwrap_err(), faults[..1], "{wrong}");
    }
}

#[test]
fn elements_are_read_alike_with_and_without_others_among_them() {
    let lists = [
        ("a, b,c", "a b c"),
        ("\n1.1.1.1,\n\n 2.2.2.2 ,\n3.3.3.3\n", "1.1.1.1 2.2.2.2 3.3.3.3"),
        ("a,,b,", "a b"),
        ("a, # one\n b,\n", "a b"),
        ("1, 08, 2", "1 08 2"),
        ("a, \"b\", c", "a \"b\" c"),
        ("a, 1-2, c", "a 1-2 c"),
        ("a\n, b", "a b"),
        ("0, 18446744073709551615, 18446744073709551616, x", "0 18446744073709551615 18446744073709551616 x"),
    ];
    for (list, expected) in lists {
        let mut sources = Sources::default();
        let text = format!("add element t s {{ {list} }}\n");
        let source = sources.add(Source { name: None, text: text.into(), included: None });
        let commands = parse(&mut sources, source, &mut NoFiles, &mut Variables::default());
        let commands = commands.unwrap_or_else(|faults| panic!("{list}: {faults:?}"));
        let CommandKind::AddElements(_, _, elements) = &commands[0].kind else { panic!("{commands:?}") };
        let ExprKind::Set(elements) = &elements.kind else { panic!("{elements:?}") };
        let found: Vec<_> = elements.iter().map(|entry| sources.slice(entry.span())).collect();
        assert_eq!(found.join(" "), expected);
    }
    for wrong in ["a,\n,b", ",a", "a b", "a, b c", "a,"] {
        read(&format!("add element t s {{ {wrong}\n")).unwrap_err();
    }
    let faults = read("add element t s { a, b c }").unwrap_err();
    assert!(faults[0].ends_with("                       ^\n"), "{faults:?}");
}

/// Lines of a chain.
const LINES: &[&str] = &[
    "ip saddr 1.2.3.4 counter accept",
    "tcp dport 22 drop comment \"ssh\"",
    "log prefix \"a b { # ; \" level warn",
    "iifname \"eth*\" jump c comment plain",
    "ct state established,related accept",
    "meta mark set mark and 0xff",
    "tcp dport { 22, 23 } accept",
    "ip saddr @s drop",
    "add @s { ip saddr }",
    "set add ip saddr @s",
    "ip saddr $x log prefix \"$x \"",
    "jump { accept; drop }",
    "counter; tcp dport 80-90 accept",
    "tcp flags & (fin | syn) == syn \\\n counter",
    "# a comment { \" ;",
    "define x = 1.2.3.4",
    "redefine x = 5.6.7.8",
    "type filter hook input priority 0; policy drop",
    "comment \"of the chain\"",
    "",
];

/// What may be between two of them, and anywhere.
const PIECES: &[&str] = &[
    "\n", ";", " ", "\t\r\n", "\"", "\"\n\"", "{", "}", "#", "$x", "@", "\\", "\\\n", "é", ",", "accept",
    "comment", "(",
];

proptest::proptest! {
    #[test]
    fn a_text_is_the_same_whether_or_not_its_rules_are_left_unread(
        lines in proptest::collection::vec((0..LINES.len(), 0..2 * PIECES.len()), 0..8),
        inserted in proptest::option::of((0..300_usize, 0..PIECES.len())),
    ) {
        let mut rules = String::new();
        for (line, piece) in lines {
            rules.push_str(LINES[line]);
            rules.push_str(PIECES.get(piece).unwrap_or(&"\n"));
        }
        if let Some((at, piece)) = inserted
            && rules.is_char_boundary(at)
        {
            rules.insert_str(at, PIECES[piece]);
        }
        let text = format!("define x = 9.9.9.9\ntable inet t {{\nchain c {{\n{rules}\n}}\n}}\n");
        match (rules_of(&text, false), rules_of(&text, true)) {
            (Ok(all), Ok(later)) => assert_eq!(all, later, "{text}"),
            (Err(_), Err(_)) => {}
            (all, later) => panic!("{text}\n{all:?}\n{later:?}"),
        }
    }
}
