//! How long `meshwire proxy-init` takes in a fresh pod, compared with the commands that Linkerd runs there.
//!
//! `cargo test --test system linkerd_speed -- --ignored`, as root with iptables-nft.

use std::process::Command;
use std::time::{Duration, Instant};

use meshwire::mesh::linkerd::ProxyInit;

use crate::harness::{Intercept, Namespace, linkerd, oracle, privileged, say};
use crate::image::{static_build, time};

/// How often each contender runs.
const ROUNDS: usize = 15;
/// By how much the whole process has to be faster than theirs together.
const FACTOR: f64 = 25.0;

/// What the chart passes, with both families.
fn chart() -> ProxyInit {
    ProxyInit {
        incoming_proxy_port: 4143,
        outgoing_proxy_port: 4140,
        proxy_uid: Some(2102),
        proxy_gid: None,
        ports_to_redirect: vec![],
        inbound_ports_to_ignore: [4190, 4191, 4567, 4568].map(|port| port..=port).into(),
        outbound_ports_to_ignore: [4567, 4568].map(|port| port..=port).into(),
        subnets_to_ignore: vec![],
        ipv6: true,
    }
}

#[test]
#[ignore = "a measurement: needs a quiet machine"]
fn one_process_instead_of_two_dozen() {
    if !privileged() || !oracle("iptables-nft") {
        return;
    }
    // As on a node where other pods are: the kernel's hooks and its connection tracking are on already.
    let other = Namespace::new();
    Intercept::linkerd(&["-p", "4143", "-o", "4140"]).apply(&other);
    let commands = that_run_here(linkerd::commands(&chart()));
    let args = [vec!["proxy-init".to_owned()], linkerd::flags(&chart())].concat();
    let args: Vec<_> = args.iter().map(String::as_str).collect();

    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        times[0].push(Namespace::new().run(|| time(static_build(), &args)));
        times[1].push(Namespace::new().run(|| {
            let started = Instant::now();
            for argv in &commands {
                let args: Vec<_> = argv[1..].iter().map(String::as_str).collect();
                time(argv[0].as_ref(), &args);
            }
            started.elapsed()
        }));
    }
    // The shortest time, and the median.
    let [ours, theirs] = times.map(|mut times| {
        times.sort_unstable();
        (times[0], times[ROUNDS / 2])
    });
    let ratio = |theirs: Duration, ours: Duration| theirs.as_secs_f64() / ours.as_secs_f64();
    let shortest = ratio(theirs.0, ours.0);
    say(&format!(
        "shortest of {ROUNDS}: meshwire {:.2?}, Linkerd's {} commands {:.2?}, {shortest:.1} times as long (median: {:.2?} \
         and {:.2?}, {:.1} times)",
        ours.0,
        commands.len(),
        theirs.0,
        ours.1,
        theirs.1,
        ratio(theirs.1, ours.1),
    ));
    // What else the machine has to do makes the others longer, and not all of them alike.
    assert!(shortest >= FACTOR, "{shortest}");
}

/// The commands; one whose match this kernel lacks with another match in its place, that costs as much.
fn that_run_here(commands: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let namespace = Namespace::new();
    let works = |argv: &[String]| {
        let output = namespace.output(Command::new(&argv[0]).args(&argv[1..]), "");
        output.status.success()
    };
    let one = |argv: Vec<String>| {
        if works(&argv) {
            return argv;
        }
        let replaced = argv.join(" ").replace("-m owner --uid-owner", "-m mark --mark");
        say(&format!("this kernel lacks a match; instead of {argv:?}: {replaced}"));
        let argv: Vec<_> = replaced.split(' ').map(str::to_owned).collect();
        assert!(works(&argv), "{argv:?}");
        argv
    };
    commands.into_iter().map(one).collect()
}
