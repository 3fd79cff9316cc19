//! Names are bytes: what others have named in bytes that are not text, or in text that moves a terminal's cursor, is in no
//! command's way.

use std::process::Output;

use nftwire::expr::{Counter, Log};
use nftwire::{
    Batch, ChainFlags, Data, Element, ElementList, Family, Object, ObjectData, Position, Rule, Set, Socket,
    Table, Text, userdata,
};

use crate::harness::{Intercept, Namespace, oracle, privileged};

const ARGS: [&str; 4] = ["-i", "*", "-b", "*"];

/// A table whose every name and comment is this.
fn foreign(family: Family, name: &[u8]) -> Batch {
    let text = Text::from_bytes(name);
    let comment = userdata::with_comment(text).unwrap();
    let mut batch = Batch::new();
    batch.add_table(&Table { userdata: &comment, ..Table::new(family, text) });
    let chain = nftwire::Chain { flags: ChainFlags::default(), ..nftwire::Chain::new(family, text, text) };
    batch.add_chain(&nftwire::Chain { userdata: &comment, ..chain });
    let counter = ObjectData::Counter(Counter::default());
    batch.add_object(&Object { userdata: &comment, ..Object::new(family, text, text, counter) });
    let id = batch.take_set_id();
    batch.add_set(&Set { id, key_type: 13, ..Set::new(family, text, text, 2) });
    let element = Element { userdata: &comment, ..Element::new(Data::be16(80)) };
    batch.add_elements(&ElementList::new(family, text, text, id), [element]);
    // What rules and sets look for is theirs, too.
    let (interfaces, id) = ([name, b"s"].concat(), batch.take_set_id());
    let interfaces = Text::from_bytes(&interfaces);
    let ifname = 41;
    batch.add_set(&Set { id, key_type: ifname, ..Set::new(family, text, interfaces, 16) });
    let padded = [name, &[0; 16]].concat();
    batch.add_elements(
        &ElementList::new(family, text, interfaces, id),
        [Element::new(Data::new(&padded[..16]))],
    );
    let log = Log {
        prefix: Some(text),
        level: None,
        flags: 0,
        group: Some(1),
        snaplen: None,
        queue_threshold: None,
    };
    let mut rule = Rule::new(family, text, text);
    rule.userdata = &comment;
    batch.add_rule(&rule, Position::Append, &[log.into()]);
    batch
}

fn run(namespace: &Namespace, args: &[&str]) -> Output {
    Intercept::command_line(args).run(namespace)
}

#[test]
fn names_that_are_no_text_are_in_nobodys_way() {
    if !(privileged() && oracle("nft")) {
        return;
    }
    for name in [&b"caf\xe9"[..], b"\xff", b"\xc3", b"a\x1b[2Jb\nc"] {
        let namespace = Namespace::with_addresses(&["10.0.0.2"]);
        let commit = |family| {
            namespace.run(|| Socket::open().unwrap().commit(&mut foreign(family, name)).unwrap());
        };
        commit(Family::Inet);
        commit(Family::Ipv4);
        let istio = |args: &[&str]| run(&namespace, &[&["istio-iptables"], &ARGS[..], args].concat());
        let there = || run(&namespace, &["list", "ruleset"]).stdout;
        let commands: [(&dyn Fn() -> Output, i32); 12] = [
            (&|| istio(&[]), 0),
            (&|| run(&namespace, &[&["verify", "istio-iptables"], &ARGS[..]].concat()), 0),
            (&|| istio(&["--keep-counters"]), 0),
            (&|| run(&namespace, &["list", "ruleset"]), 0),
            (&|| run(&namespace, &["list", "ruleset", "--output", "json"]), 0),
            (&|| run(&namespace, &["graph"]), 0),
            (&|| run(&namespace, &["explain", "--to", "10.0.0.2:80"]), 4),
            (&|| run(&namespace, &[&["migrate", "--dry-run", "istio-iptables"], &ARGS[..]].concat()), 0),
            (&|| run(&namespace, &["nft", "list", "ruleset"]), 0),
            (&|| run(&namespace, &["doctor"]), 0),
            (&|| run(&namespace, &["reset", "counters"]), 0),
            (&|| istio(&["--cleanup-only"]), 0),
        ];
        for (index, (command, expected)) in commands.iter().enumerate() {
            let Output { status, stdout, stderr } = command();
            let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
            let what = format!("command {index} with {}", name.escape_ascii());
            assert_eq!(status.code(), Some(*expected), "{what}: {stdout}{stderr}");
            let controls = |text: &str| text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
            assert!(!controls(&stdout) && !controls(&stderr), "{what}: {stdout}{stderr}");
            assert!(!stdout.lines().any(|line| line == "c"), "{what}: a line is forged: {stdout}");
        }
        // What is foreign is as before.
        let theirs = String::from_utf8(there()).unwrap();
        assert_eq!(theirs.matches("log prefix").count(), 2, "{theirs}");
        assert_eq!(theirs.matches("table ").count(), 2, "{theirs}");
    }
}
