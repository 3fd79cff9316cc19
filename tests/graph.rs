//! `meshwire graph` on what `nft` loaded, in a network namespace of its own; graphviz, where it is installed, reads what
//! is for it.
//!
//! It needs root and `nft`. Without, it fails when CI is in the environment, and otherwise says that it did not happen.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use meshwire_testkit::{enter_new, in_thread, oracle, privileged};

const RULESET: &str = r#"
table inet istio-proxy-nat {
    chain output {
        type nat hook output priority -100; policy accept;
        counter packets 12 bytes 3456 jump istio-output
    }
    chain istio-output {
        oifname "lo" ip daddr != 127.0.0.1 tcp dport != { 53, 15008 } meta skuid 1337 counter packets 0 bytes 0 goto istio-redirect
        tcp dport vmap { 80 : jump istio-redirect, 81 : goto istio-redirect, 82 : drop } comment "<a> & b"
    }
    chain istio-redirect {
        meta l4proto tcp redirect to :15001
    }
}
table ip other {
    chain input {
        type filter hook input priority filter; policy drop;
    }
}
"#;

#[test]
fn a_mesh_is_drawn_as_svg_and_dot() {
    if !privileged() || !oracle("nft") {
        return;
    }
    in_thread(draw);
}

fn draw() {
    enter_new();
    feed("nft", &["-f", "-"], RULESET);
    let svg = graph(&[]);
    assert_well_formed(&svg);
    for part in [
        "output",
        "12 pkt, 3.4 kB",
        // Whole: the ports and whose packets they are, too.
        "oifname &quot;lo&quot; ip daddr != 127.0.0.1 tcp dport != { 53, 15008 } meta skuid 1337 counter goto</text>",
        ">    istio-redirect</text>",
        "not drawn without --all: ip other</text>",
        "policy accept",
        "&lt;a&gt; &amp; b",
        "goto istio-redirect\n0 packets, 0 bytes</title>",
    ] {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    assert!(!svg.contains("policy drop"), "no table of a mesh");
    let all = graph(&["--all"]);
    assert!(all.contains("policy drop") && !all.contains("not drawn"));
    let namespace = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
    assert_eq!(graph(&["--netns", &namespace]), svg);

    let dot = graph(&["--output", "dot"]);
    assert!(dot.contains("chain1:row1:e -> chain2:head:w [style=dashed]"), "{dot}");
    if Command::new("dot").arg("-V").output().is_ok() {
        let drawn = feed("dot", &["-Tsvg"], &dot);
        assert_eq!(String::from_utf8_lossy(&drawn.stderr), "");
        let drawn = String::from_utf8(drawn.stdout).unwrap().replace("&#45;", "-").replace("&#160;", " ");
        assert!(drawn.contains("istio-redirect") && drawn.contains("12 pkt, 3.4 kB"));
        assert_eq!(drawn.matches("class=\"edge\"").count(), 4, "{drawn}");
    }
}

fn graph(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_meshwire")).arg("graph").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn feed(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Every element that opens closes, and nothing refers to the outside.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, false) => open.push(name),
            (false, true) => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!svg.contains("href") && !svg.contains("url("));
    assert_eq!(svg.matches("://").count(), 1, "the namespace of SVG and nothing else");
}
