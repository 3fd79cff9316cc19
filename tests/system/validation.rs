//! The proof that traffic is intercepted, where it is and where it is not.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use meshwire::diagnostic::Explain;
use meshwire::network::{Change, RouteSocket};
use meshwire::redirect_check::{self, Missed, RedirectCheck, RedirectCheckError};
use nft_ruleset::desired::{Desired, Owned};
use nft_ruleset::plan::{Counters, Plan};
use nft_ruleset::{BaseChain, Chain, ChainKind, Family, Hook, Op, Policy, Rule, Ruleset, TCP_DPORT, Table};
use nix::unistd::{Uid, setfsuid};

use crate::harness::{self, Namespace};

const V4: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6))];
const V6: [IpAddr; 2] = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V6(PASSTHROUGH_V6)];
const PASSTHROUGH_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// What a sidecar's container asks for.
fn sidecar([loopback, destination]: [IpAddr; 2], timeout: Duration) -> RedirectCheck {
    RedirectCheck { loopback, listen_ports: vec![15001, 15006], destination, probe_port: 15002, timeout }
}

/// The rules of a sidecar that a validator meets, with this port in the place of 15006.
fn rules(port: u16) -> Ruleset {
    let rule = |loopback: IpAddr| {
        let rule = Rule::new().oifname("lo").tcp().daddr(Op::Ne, loopback).port(TCP_DPORT, Op::Ne, 15008);
        rule.skuid(Op::Eq, 1337).counter().redirect(port)
    };
    let base =
        BaseChain { kind: ChainKind::Nat, hook: Hook::LocalOut, priority: -100, policy: Policy::Accept };
    let rules = vec![rule(V4[0]), rule(V6[0])];
    let chain = Chain { name: "output".into(), base: Some(base), rules, ..Chain::default() };
    Ruleset { tables: vec![Table { chains: vec![chain], ..Table::new(Family::Inet, "test") }] }
}

fn intercept(port: u16) {
    let ruleset = rules(port);
    let mut nft = nftwire::Socket::open().unwrap();
    let owned = Owned::default();
    let plan = Plan::read(&mut nft, Desired::new(&ruleset, &owned)).unwrap();
    let mut transaction = plan.transaction(Counters::Reset).unwrap();
    nft.commit(transaction.batch()).unwrap();
}

/// Validates as the proxy's user, and returns how long it took.
fn validate(validation: &RedirectCheck) -> (Result<(), RedirectCheckError>, Duration) {
    setfsuid(Uid::from_raw(1337));
    let started = Instant::now();
    let result = redirect_check::run(validation);
    (result, started.elapsed())
}

/// Far more than it takes, on a busy machine, too, and less than the longest of the timeouts here.
const A_MOMENT: Duration = Duration::from_secs(10);

#[test]
fn a_connection_that_arrives_is_the_proof() {
    if !harness::privileged() {
        return;
    }
    Namespace::new().run(|| {
        intercept(15006);
        let (result, elapsed) = validate(&sidecar(V4, Duration::from_secs(30)));
        result.unwrap();
        assert!(elapsed < A_MOMENT, "{elapsed:?}");
    });
}

/// Right after the command that adds `::6`.
#[test]
fn the_same_with_ipv6_and_an_address_that_is_still_tentative() {
    if !harness::privileged() {
        return;
    }
    Namespace::new().run(|| {
        intercept(15006);
        let added = RouteSocket::open().unwrap().add_loopback_address(PASSTHROUGH_V6).unwrap();
        assert_eq!(added, Change::Made);
        let (result, elapsed) = validate(&sidecar(V6, Duration::from_secs(30)));
        result.unwrap();
        assert!(elapsed < A_MOMENT, "{elapsed:?}");
    });
}

#[test]
fn without_rules_it_ends_with_the_timeout() {
    if !harness::privileged() {
        return;
    }
    let timeout = Duration::from_millis(4900);
    let (result, elapsed) = Namespace::new().run(|| validate(&sidecar(V4, timeout)));
    let error = result.unwrap_err();
    let RedirectCheckError::NotIntercepted { destination, attempts, last: Missed::Failed(last), .. } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(destination.to_string(), "127.0.0.6:15002");
    // One a second, and fewer where the machine is busy.
    assert!((2..=5).contains(attempts), "{attempts}");
    assert_eq!(last.raw_os_error(), Some(nix::libc::ECONNREFUSED));
    assert!(elapsed >= timeout && elapsed < timeout + A_MOMENT, "{elapsed:?}");
    let text = format!("{error} {}", error.explanation().help.unwrap());
    for part in ["not ready for the mesh", "CNI plugin", "before the node is ready", "delete the pod"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn without_the_destinations_address_it_ends_with_the_timeout_too() {
    if !harness::privileged() {
        return;
    }
    let timeout = Duration::from_millis(200);
    let (result, elapsed) = Namespace::new().run(|| validate(&sidecar(V6, timeout)));
    let error = result.unwrap_err();
    assert!(error.to_string().contains("Network is unreachable"), "{error}");
    assert!(elapsed >= timeout && elapsed < timeout + A_MOMENT, "{elapsed:?}");
}

#[test]
fn rules_that_come_later_are_noticed_within_a_second() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(200));
            namespace.run(|| intercept(15006));
        });
        let (result, elapsed) = namespace.run(|| validate(&sidecar(V4, Duration::from_secs(30))));
        result.unwrap();
        assert!(elapsed < Duration::from_secs(1) + A_MOMENT, "{elapsed:?}");
    });
}

#[test]
fn one_port_that_can_be_had_is_enough() {
    if !harness::privileged() {
        return;
    }
    Namespace::new().run(|| {
        intercept(15001);
        let _other = TcpListener::bind("0.0.0.0:15006").unwrap();
        validate(&sidecar(V4, Duration::from_secs(30))).0.unwrap();
    });
}

#[test]
fn a_connection_that_arrives_elsewhere_proves_nothing() {
    if !harness::privileged() {
        return;
    }
    Namespace::new().run(|| {
        intercept(15006);
        let _other = TcpListener::bind("0.0.0.0:15006").unwrap();
        let error = validate(&sidecar(V4, Duration::from_millis(100))).0.unwrap_err();
        assert!(matches!(error, RedirectCheckError::NotIntercepted { last: Missed::AcceptedElsewhere, .. }));
    });
}

#[test]
fn without_a_port_the_result_is_unknown() {
    if !harness::privileged() {
        return;
    }
    Namespace::new().run(|| {
        intercept(15006);
        let _others = [15001, 15006].map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        let (result, elapsed) = validate(&sidecar(V4, Duration::from_secs(30)));
        let text = result.unwrap_err().to_string();
        assert!(text.contains("127.0.0.1:15001: EADDRINUSE: Address already in use"), "{text}");
        assert!(text.contains("127.0.0.1:15006: EADDRINUSE: Address already in use"), "{text}");
        assert!(elapsed < A_MOMENT, "{elapsed:?}");
    });
}

/// Straight to the listener, with and without connection tracking, and to another port by way of the rules.
#[test]
fn the_connections_of_others_prove_nothing() {
    if !harness::privileged() {
        return;
    }
    for tracked in [false, true] {
        let namespace = Namespace::new();
        // The strangers have to come while it lasts, on a busy machine, too.
        let timeout = Duration::from_secs(10);
        let connect = |to: [u8; 4], port: u16| {
            namespace.run(|| TcpStream::connect(SocketAddr::from((to, port))).map(drop))
        };
        thread::scope(|scope| {
            // The rules are for uid 1337, the validator is somebody else here.
            let validator = scope.spawn(|| {
                namespace.run(|| {
                    if tracked {
                        intercept(15006);
                    }
                    redirect_check::run(&sidecar(V4, timeout))
                })
            });
            while connect([127, 0, 0, 1], 15006).is_err() {
                assert!(!validator.is_finished(), "the validator does not listen");
                thread::sleep(Duration::from_millis(1));
            }
            if tracked {
                let to_another_port = || {
                    setfsuid(Uid::from_raw(1337));
                    TcpStream::connect("127.0.0.6:15003").map(drop)
                };
                namespace.run(to_another_port).unwrap();
            }
            let result = validator.join().unwrap();
            assert!(matches!(result, Err(RedirectCheckError::NotIntercepted { .. })), "{result:?}");
        });
    }
}

/// Runs the command as a CNI plugin's validation container does: as the proxy's user, without any capability.
fn validation_container(namespace: &Namespace) -> Output {
    // By descriptor: the build's folder may be closed to other users.
    let program = File::open(harness::program()).unwrap();
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.args(["istio-iptables", "--run-validation", "--skip-rule-apply", "--probe-timeout", "1s"]);
    command.env_clear().uid(1337).gid(1337).current_dir("/");
    namespace.output(&mut command, "")
}

#[test]
fn the_command_needs_no_capability_and_ends_with_126() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::new();
    namespace.command(&["ip", "address", "add", "10.0.0.2/32", "dev", "lo"]);
    let output = validation_container(&namespace);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(126), "{stderr}");
    assert!(stderr.contains("the workload is not ready for the mesh"), "{stderr}");

    namespace.run(|| intercept(15006));
    let output = validation_container(&namespace);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The command's exit code and what it says, as this user, where it validates with dual stack.
fn validate_both(namespace: &Namespace, uid: u32) -> (Option<i32>, String) {
    let args = ["istio-iptables", "-u", "1337", "--dual-stack", "--run-validation", "--skip-rule-apply"];
    let mut command = Command::new(harness::program());
    command.args(args).args(["--probe-timeout", "1s"]).uid(uid).gid(uid);
    let output = namespace.output(&mut command, "");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The command of step 4 in docs/debug.md, as this user.
fn step_4(namespace: &Namespace, uid: u32) -> (Option<i32>, String) {
    let page = include_str!("../../docs/debug.md");
    let step = page.lines().find(|line| line.starts_with("4. ")).unwrap();
    let line = step.split('`').find(|part| part.starts_with("meshwire ")).unwrap();
    let program = File::open(harness::program()).unwrap();
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.args(line.split(' ').skip(1)).args(["--probe-timeout", "1s"]);
    command.env_clear().uid(uid).gid(uid).current_dir("/");
    let output = namespace.output(&mut command, "");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_step_in_the_docs_ends_as_they_say() {
    if !harness::privileged() || !harness::oracle("nft") {
        return;
    }
    let namespace = Namespace::with_addresses(&["10.0.0.2"]);
    let (code, said) = step_4(&namespace, 1337);
    assert!(code == Some(126) && said.contains("the workload is not ready for the mesh"), "{said}");
    harness::intercept(&namespace, &["-u", "1337", "-i", "*", "-b", "*"]);
    let rules = || namespace.command(&["nft", "--stateless", "list", "ruleset"]);
    let before = rules();
    let (code, said) = step_4(&namespace, 1337);
    assert!(code == Some(0) && said.contains("traffic is intercepted"), "{said}");
    // Another user's connections prove nothing.
    let (code, said) = step_4(&namespace, 4321);
    assert!(code == Some(1) && said.contains("runs with uid 4321"), "{said}");
    // Next to a proxy that has both ports.
    let proxy = |port| namespace.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
    let _inbound = proxy(15006);
    let (code, said) = step_4(&namespace, 1337);
    assert_ne!(code, Some(0), "the proof arrives at the other program: {said}");
    let _outbound = proxy(15001);
    let (code, said) = step_4(&namespace, 1337);
    assert!(code == Some(1) && said.contains("cannot listen on"), "{said}");
    assert_eq!(rules(), before);
}

#[test]
fn both_families_are_proved_and_the_one_that_is_not_intercepted_is_named() {
    if !harness::privileged() || !harness::oracle("nft") {
        return;
    }
    let namespace = Namespace::with_addresses(&["10.0.0.2", "fd00::2"]);
    harness::intercept(&namespace, &["-u", "1337", "-i", "*", "-b", "*", "--dual-stack"]);
    let (code, said) = validate_both(&namespace, 1337);
    assert_eq!(code, Some(0), "{said}");
    for (family, named, other) in [("ipv4", "IPv4: ", "IPv6: "), ("ipv6", "IPv6: ", "IPv4: ")] {
        let rule = [
            "nft",
            "insert",
            "rule",
            "inet",
            "istio-proxy-nat",
            "output",
            "meta",
            "nfproto",
            family,
            "return",
        ];
        namespace.command(&rule);
        let (code, said) = validate_both(&namespace, 1337);
        assert_eq!(code, Some(126), "{said}");
        let error = said.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(error.contains(named) && !error.contains(other), "{said}");
        harness::intercept(&namespace, &["-u", "1337", "-i", "*", "-b", "*", "--dual-stack"]);
    }
}

/// Rules or not: nothing is known of them where no connection gets that far.
#[test]
fn without_a_way_to_the_proxy_the_result_is_unknown() {
    if !harness::privileged() || !harness::oracle("ip") || !harness::oracle("nft") {
        return;
    }
    let kinds = [("unreachable", "EHOSTUNREACH"), ("prohibit", "EACCES"), ("blackhole", "EINVAL")];
    let routes = kinds.map(|(kind, errno)| {
        (format!("ip route add {kind} 127.0.0.6 table 9; ip rule add to 127.0.0.6 table 9 pref 0; ip rule add pref 1 lookup local; ip rule del pref 0 lookup local"), format!("127.0.0.6:15002 cannot be reached: {errno}"))
    });
    let dropped =
        "nft 'table inet f { chain o { type filter hook output priority 0; oifname \"lo\" drop; }; }'";
    let silent = "not even a connection to 127.0.0.1:15001";
    let silent = [("ip link set lo down", silent), (dropped, silent)];
    for (setup, why) in
        routes.into_iter().chain(silent.map(|(setup, why)| (setup.to_owned(), why.to_owned())))
    {
        let namespace = Namespace::with_addresses(&["10.0.0.2"]);
        harness::intercept(&namespace, &["-u", "1337", "-i", "*", "-b", "*"]);
        namespace.command(&["sh", "-ec", &setup]);
        let output = validation_container(&namespace);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{setup}: {said}");
        assert!(said.contains(&why) && !said.contains("delete the pod"), "{setup}: {said}");
    }
}

#[test]
fn a_validation_that_cannot_prove_anything_says_why() {
    if !harness::privileged() {
        return;
    }
    let namespace = Namespace::with_addresses(&["10.0.0.2", "fd00::2"]);
    harness::intercept(&namespace, &["-u", "1337", "-i", "*", "-b", "*", "--dual-stack"]);
    let (code, said) = validate_both(&namespace, 4321);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot be determined: this runs with uid 4321"), "{said}");
    assert!(!said.contains("delete the pod"), "{said}");
    let mut linkerd = Command::new(harness::program());
    linkerd.args(["validate", "linkerd", "--timeout", "1s"]);
    let output = namespace.output(&mut linkerd, "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("192.0.2.2:1404 cannot be reached: ENETUNREACH"), "{said}");
    assert!(!said.contains("delete the pod"), "{said}");
}
