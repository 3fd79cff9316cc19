//! Optimized rulesets in the kernel: it decides as the model says it does, before and after.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsFd;

use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::evaluate::{Fate, Interface, Owner, Packet};
use nft_ruleset::optimize::{Counting, optimize};
use nft_ruleset::plan::{Counters, Plan};
use nft_ruleset::{Protocol, Ruleset};
use nftwire::Socket;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::evaluator::evaluated;
use crate::evaluator::packets::packets;
use crate::evaluator::random::{BASE, ruleset};
use crate::harness::nft::bytecode;
use crate::harness::{Intercept, Namespace, Pod, User, V4, captured, oracle, privileged, straight};

/// Rulesets, each with as many packets.
const RULESETS: usize = 40;
const PACKETS: usize = 24;

/// A place where packets to all of the random addresses stay.
fn place() -> Namespace {
    let namespace = Namespace::new();
    namespace.add_addresses(&["fd00::1", "fd00::2", "fd00::3", "fd00::4", "fd00::5"]);
    namespace
}

fn load(namespace: &Namespace, ruleset: &Ruleset) {
    namespace.run(|| {
        let mut socket = Socket::open().unwrap();
        let owned = Owned::default();
        let plan = Plan::read(&mut socket, Desired::new(ruleset, &owned)).unwrap();
        socket.commit(plan.transaction(Counters::Reset).unwrap().batch()).unwrap();
    });
}

/// The packet as a datagram that can leave from here and stays here.
fn sendable(packet: &Packet) -> Packet {
    let local = |address| match address {
        IpAddr::V4(v4) if v4.is_loopback() && !matches!(v4.octets(), [_, 0, 0, 0] | [_, 255, 255, 255]) => {
            address
        }
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if matches!(v6.segments(), [0xfd00, 0, 0, 0, 0, 0, 0, 1..=5]) => address,
        IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(),
    };
    let Owner::Socket { uid, gid } = packet.owner else { panic!("{packet:?}") };
    // The highest number means no user and no group.
    let owner = Owner::Socket { uid: uid.min(u32::MAX - 1), gid: gid.min(u32::MAX - 1) };
    Packet {
        output: Interface::named("lo"),
        source: local(packet.source),
        destination: local(packet.destination),
        protocol: Protocol::UDP,
        destination_port: packet.destination_port.max(Some(1)),
        owner,
        ..packet.clone()
    }
}

/// Whether the kernel lets the packet out.
fn is_let_out(namespace: &Namespace, packet: &Packet) -> bool {
    let sent = namespace.run(|| -> io::Result<usize> {
        let Owner::Socket { uid, gid } = packet.owner else { panic!("{packet:?}") };
        User { uid, gid }.take_on();
        let socket = UdpSocket::bind((packet.source, 0))?;
        setsockopt(&socket.as_fd(), sockopt::Mark, &packet.mark.unwrap())?;
        socket.send_to(b"?", (packet.destination, packet.destination_port.unwrap()))
    });
    match sent {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => false,
        Err(error) => panic!("{packet:?}: {error}"),
    }
}

#[test]
fn the_kernel_decides_as_the_model_says() {
    if !privileged() {
        return;
    }
    let namespace = place();
    // The same each time: what fails can be looked at.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut dropped = 0;
    for _ in 0..RULESETS {
        let plain = ruleset(true).new_tree(&mut runner).unwrap().current();
        let packets = packets(&plain, PACKETS).new_tree(&mut runner).unwrap().current();
        let packets: Vec<_> = packets.iter().map(sendable).collect();
        let [by_rule, by_element] =
            [Counting::ByRule, Counting::ByElement].map(|counting| optimize(&plain, counting));
        for ruleset in [&plain, &by_rule, &by_element] {
            load(&namespace, ruleset);
            let owned = Owned::default();
            let desired = Desired::new(ruleset, &owned);
            let plan = namespace.run(|| Plan::read(&mut Socket::open().unwrap(), desired).unwrap());
            assert_eq!(plan.differences().unwrap(), [], "{ruleset}");
            for packet in &packets {
                let (fate, ..) = evaluated(&ruleset.tables[0], BASE, packet);
                assert_eq!(is_let_out(&namespace, packet), fate != Fate::Dropped, "{packet:?}\n{ruleset}");
                dropped += usize::from(fate == Fate::Dropped);
            }
        }
    }
    let all = 3 * RULESETS * PACKETS;
    assert!(dropped > all / 10 && dropped < all * 9 / 10, "{dropped} of {all} packets were dropped");
}

#[test]
fn excluded_and_included_networks_and_ports_are_those_that_were_given() {
    let args = ["-i", "10.0.0.0/15", "-x", "10.1.0.1/32,10.1.7.0/24,192.168.0.0/16", "-o", "81,83"];
    for by in [&["--optimize"][..], &["--optimize", "--element-counters"]] {
        let Some(pod) = Pod::intercepted(&[&args[..], by].concat()) else { return };
        assert_eq!(pod.app().tcp(V4.peer(80)), captured(15001, V4.peer(80)));
        assert_eq!(pod.app().tcp(V4.peer(81)), straight(V4.peer(81)));
        assert_eq!(pod.app().tcp(V4.elsewhere(80)), straight(V4.elsewhere(80)));
        assert_eq!(pod.app().tcp(V4.elsewhere(8080)), straight(V4.elsewhere(8080)));
        assert_eq!(pod.proxy().tcp(V4.peer(80)), straight(V4.peer(80)));
    }
}

#[test]
fn elements_count_for_themselves_and_survive_a_run_that_keeps_counters() {
    let args = ["-i", "*", "-x", "10.1.0.1/32,10.1.0.2/32", "--optimize", "--element-counters"];
    let Some(pod) = Pod::intercepted(&args) else { return };
    if !oracle("nft") {
        return;
    }
    assert_eq!(pod.app().tcp(V4.elsewhere(80)), straight(V4.elsewhere(80)));
    for _ in 0..2 {
        let listing = pod.namespace.command(&["nft", "list", "ruleset"]);
        assert!(listing.contains("10.1.0.1 counter packets 1 bytes"), "{listing}");
        assert!(listing.contains("10.1.0.2 counter packets 0 bytes"), "{listing}");
        pod.intercept(&[&args[..], &["--keep-counters"]].concat());
    }
}

#[test]
fn verify_compares_with_the_optimized_rules() {
    if !privileged() || !oracle("nft") {
        return;
    }
    let verify = |namespace: &Namespace, args: &[&str]| {
        let argv = [&[env!("CARGO_BIN_EXE_meshwire"), "verify", "istio-iptables"], args].concat();
        let output = namespace.output(std::process::Command::new(argv[0]).args(&argv[1..]), "");
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let plain = ["-i", "10.0.0.0/8", "-x", "10.3.0.0/16,10.5.0.0/16", "-b", "*", "-d", "1,2"];
    for by in [&["--optimize"][..], &["--optimize", "--element-counters"]] {
        let namespace = Namespace::with_addresses(&["10.0.0.2"]);
        let args = [&plain[..], by].concat();
        Intercept::new(&args).apply(&namespace);
        assert_eq!(verify(&namespace, &args).0, 0);
        assert_eq!(verify(&namespace, &plain).0, 3);
        let before = bytecode(&namespace);
        Intercept::new(&[&args[..], &["--keep-counters"]].concat()).apply(&namespace);
        assert_eq!(bytecode(&namespace), before);
    }
}
