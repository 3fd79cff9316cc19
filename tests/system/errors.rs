//! What goes wrong is said in one line, with what to do in a second one, and leaves everything as it was.

use std::fs;
use std::process::Output;

use meshwire::apply::ApplyError;
use meshwire::diagnostic::Explain;
use nftwire::{Batch, Chain, Expr, Family, Hook, Position, Register, Socket, Table, TableFlags, expr};
use serde_json::Value;

use crate::families::with_links;
use crate::harness::nft::objects;
use crate::harness::{
    Intercept, Namespace, User, intercept, network, of_the_command, oracle, owned_table, say,
};
use crate::settings::Setting;

/// The user whom a container has no privileges as.
const NOBODY: User = User { uid: 65534, gid: 65534 };
const DECISION: &str = "info: IPv6 off: the pod's first address, 10.0.0.2, is IPv4\n";

fn everything(namespace: &Namespace) -> (Vec<Value>, Vec<String>) {
    (objects(namespace), network(namespace))
}

/// A namespace with rules, routes and an address of an earlier run.
fn place() -> Option<Namespace> {
    if !oracle("nft") || !oracle("ip") {
        return None;
    }
    let namespace = Setting::namespace()?;
    intercept(
        &namespace,
        &["-b", "*", "-m", "TPROXY", "--dual-stack", "--redirect-dns", "--capture-all-dns"],
    );
    Some(namespace)
}

/// The command ends with this code, says this on standard error and nothing else, and changes nothing.
#[track_caller]
fn assert_fails(namespace: &Namespace, command: Intercept, code: i32, text: &str) {
    let before = everything(namespace);
    let Output { status, stdout, stderr } = command.run(namespace);
    assert_eq!(String::from_utf8_lossy(&stderr), text);
    assert_eq!((status.code(), stdout.as_slice()), (Some(code), &b""[..]), "{text}");
    assert!(everything(namespace) == before, "{text}");
}

// Wrong usage.

#[test]
fn wrong_usage_is_refused_in_one_line() {
    let Some(namespace) = place() else { return };
    let files = || {
        Intercept::new(&[])
            .etc("passwd", "root:x:0:0::/:\n")
            .etc("group", "mail:x:8:\n")
            .etc("resolv.conf", "nameserver 10.96.0.10\n")
    };
    for (flag, value, error) in [
        ("envoy-port", "70000", "\"70000\" is not a port (0 to 65535)"),
        ("envoy-port", "0", "cannot listen on port 0"),
        ("inbound-capture-port", "http", "\"http\" is not a port (0 to 65535)"),
        (
            "istio-inbound-ports",
            "80,-1",
            "\"-1\" is neither a port (0 to 65535), nor a range of ports, nor a service that is known here (item 2)",
        ),
        (
            "istio-local-exclude-ports",
            "22;80",
            "\"22;80\" is neither a port nor a range of ports (0 to 65535, such as 80 or 8000-8080)",
        ),
        ("istio-outbound-ports", "9-1", "\"9-1\" is not a range: it ends before it begins"),
        ("istio-service-cidr", "10.0.0.0/33", "\"10.0.0.0/33\" is not a network (ADDRESS/PREFIX-LENGTH)"),
        (
            "istio-service-cidr",
            "10.0.0.0/8,10.256.0.0/16",
            "\"10.256.0.0/16\" is not a network (ADDRESS/PREFIX-LENGTH) (item 2)",
        ),
        (
            "istio-service-exclude-cidr",
            "fd00::/8/8",
            "\"fd00::/8/8\" is not a network (ADDRESS/PREFIX-LENGTH)",
        ),
        ("istio-service-exclude-cidr", "10.0.0.1", "\"10.0.0.1\" has no prefix length: write 10.0.0.1/32"),
        ("istio-service-exclude-cidr", "fd00::1", "\"fd00::1\" has no prefix length: write fd00::1/128"),
        (
            "istio-service-exclude-cidr",
            "*",
            "* would exclude all traffic: name the networks, or leave it out",
        ),
        ("proxy-uid", "nobody-here", "there is no user \"nobody-here\" here, and it is not a number"),
        ("proxy-uid", "4294967296", "\"4294967296\" is not a number from 0 to 4294967295"),
        ("proxy-gid", "nobody-here", "there is no group \"nobody-here\" here, and it is not a number"),
        (
            "istio-exclude-interfaces",
            "eth0123456789abc",
            "\"eth0123456789abc\": an interface's name has at most 15 bytes",
        ),
        (
            "kube-virt-interfaces",
            "eth0,eth0123456789abc",
            "\"eth0123456789abc\": an interface's name has at most 15 bytes (item 2)",
        ),
        ("istio-inbound-interception-mode", "NONE", "\"NONE\" is neither REDIRECT nor TPROXY"),
        ("istio-inbound-tproxy-mark", "0", "mark 0 is that of all packets"),
        ("istio-inbound-tproxy-mark", "0x100000000", "\"0x100000000\" is not a number from 0 to 4294967295"),
        ("istio-inbound-tproxy-route-table", "254", "table 254 is one of the system's own"),
        ("redirect-dns", "yes", "\"yes\" is neither true nor false"),
        ("dry-run", "2", "\"2\" is neither true nor false"),
        ("probe-timeout", "5", "\"5\" is not a duration (such as 5s, 1m30s or 500ms)"),
    ] {
        let variable = flag.to_uppercase().replace('-', "_");
        for keep in [&[][..], &["--keep-counters"]] {
            let by_flag = files().with(&[&format!("--{flag}={value}")]).with(keep);
            assert_fails(&namespace, by_flag, 2, &format!("error: --{flag}: {error}\n"));
        }
        // It is not a variable of Istio's, or one in which Istio ignores what is not a boolean.
        if ["envoy-port", "redirect-dns", "dry-run"].contains(&flag) {
            continue;
        }
        let by_variable = files().env(&variable, value);
        assert_fails(
            &namespace,
            by_variable,
            2,
            &format!("error: environment variable {variable}: {error}\n"),
        );
    }
    for (variable, value, error) in [
        (
            "ISTIO_OUTBOUND_OWNER_GROUPS",
            "mail,ftp",
            "there is no group \"ftp\" here, and it is not a number (item 2)",
        ),
        (
            "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
            "ftp",
            "there is no group \"ftp\" here, and it is not a number",
        ),
        (
            "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
            "10.0.0.0/8",
            "\"10.0.0.0/8\" is not a loopback network of IPv4 (127.0.0.0/8 or a part of it)",
        ),
    ] {
        let text = format!("error: environment variable {variable}: {error}\n");
        assert_fails(&namespace, files().env(variable, value), 2, &text);
    }
}

#[test]
fn servers_that_are_written_down_nowhere_are_not_redirected_to() {
    let Some(namespace) = place() else { return };
    // /etc is empty here.
    let text = "error: --redirect-dns: the servers are in /etc/resolv.conf, which cannot be read: ENOENT: No such \
                file or directory\nhelp: mount that file, or capture all DNS with --capture-all-dns\n";
    assert_fails(&namespace, Intercept::new(&["--redirect-dns"]), 1, text);
    let text = text.replace("--redirect-dns", "environment variable ISTIO_META_DNS_CAPTURE");
    assert_fails(&namespace, Intercept::new(&[]).env("ISTIO_META_DNS_CAPTURE", "true"), 1, &text);
}

// Where it is to be done.

#[test]
fn a_namespace_that_cannot_be_entered_is_named() {
    let Some(namespace) = place() else { return };
    let missing = "there is no network namespace /run/netns/nowhere: ENOENT: No such file or directory\n\
                   help: a namespace is named by a file, by a process in it, or as `ip netns` names it; that of a pod goes with the pod\n";
    let no_namespace = "cannot enter the network namespace: EINVAL: Invalid argument\n\
                        help: the file is not a network namespace, or no longer one\n";
    let named = "help: a namespace is named by a file, by a process in it, or as `ip netns` names it\n";
    let file = "help: a namespace's file is such as /run/netns/NAME or /proc/PID/ns/net\n";
    for (path, error) in [
        ("/run/netns/nowhere", missing.to_owned()),
        // As `ip netns` names it: no word of a pod that was deleted.
        ("nowhere", missing.to_owned()),
        ("4294967295", format!("there is no process 4294967295\n{named}")),
        ("/etc/passwd", format!("/etc/passwd is not a namespace\n{file}")),
        ("/etc", format!("/etc is not a namespace\n{file}")),
        ("/dev/null", format!("/dev/null is not a namespace\n{file}")),
        ("/proc/self/ns/mnt", format!("/proc/self/ns/mnt: {no_namespace}")),
    ] {
        let command = || Intercept::new(&["-b", "*"]).etc("passwd", "");
        let by_flag = command().with(&["--network-namespace", path]);
        assert_fails(&namespace, by_flag, 1, &format!("error: --network-namespace: {error}"));
        let text = format!("error: environment variable NETWORK_NAMESPACE: {error}");
        assert_fails(&namespace, command().env("NETWORK_NAMESPACE", path), 1, &text);
    }
}

#[test]
fn a_namespace_needs_a_privilege_to_be_entered() {
    let Some(namespace) = place() else { return };
    // This user may not even look at another's descriptors, so it enters the namespace that it is in.
    let command = Intercept::new(&["--network-namespace", "/proc/self/ns/net"]).user(NOBODY);
    let text = "error: --network-namespace: /proc/self/ns/net: cannot enter the network namespace: EPERM: Operation not \
                permitted\nhelp: CAP_SYS_ADMIN is needed, here and in the namespace's own user namespace\n";
    assert_fails(&namespace, command, 1, text);
}

/// What makes a namespace look like the machine's own.
const ONLY_THERE: &str = "/proc/sys/net/core";

#[test]
fn the_machines_own_namespace_is_left_alone() {
    let Some((namespace, _other)) = with_links(&["10.0.0.2"], &[]) else { return };
    if !oracle("nft") || !oracle("ip") {
        return;
    }
    let core = tempfile::tempdir().unwrap();
    fs::write(core.path().join("netdev_max_backlog"), "1000\n").unwrap();
    let on_the_machine = |args: &[&str]| Intercept::new(args).folder(core.path(), ONLY_THERE);
    let text = "error: this is the machine's own network namespace: a change here concerns all of the machine, and can cut it off\n\
                help: run it in the pod's namespace (nsenter --net=…), or, on a virtual machine of the mesh, with \
                --allow-host-network or the environment variable MESHWIRE_ALLOW_HOST_NETWORK=true\n";
    for args in [&["-b", "*"][..], &["-b", "*", "--keep-counters"], &["--check"]] {
        assert_fails(&namespace, on_the_machine(args), 1, text);
    }
    // Looking is no harm, and neither is working in a pod's namespace from there.
    on_the_machine(&["-b", "*", "--dry-run"]).apply(&namespace);
    let pod = Setting::namespace().unwrap();
    on_the_machine(&["-b", "*", "--network-namespace", &pod.path()]).apply(&namespace);
    assert!(objects(&namespace).is_empty() && !objects(&pod).is_empty());

    on_the_machine(&["-b", "*", "--allow-host-network"]).apply(&namespace);
    assert!(!objects(&namespace).is_empty());
    on_the_machine(&["--cleanup-only"]).apply(&namespace);
    assert!(objects(&namespace).is_empty());
    on_the_machine(&["-b", "*"]).env("MESHWIRE_ALLOW_HOST_NETWORK", "true").apply(&namespace);
    // A machine without links that lead elsewhere is one all the same.
    assert_fails(&Setting::namespace().unwrap(), on_the_machine(&["-b", "*"]), 1, text);
    // What others count by is theirs, too.
    let reset = |args: &[&str]| {
        let command = Intercept::command_line(&[&["reset", "counters"], args].concat());
        command.folder(core.path(), ONLY_THERE)
    };
    namespace.feed(&["nft", "-f", "-"], "table ip t { chain c { counter packets 7 bytes 8; }; }");
    assert_fails(&namespace, reset(&[]), 1, text);
    reset(&["--netns", &pod.path()]).apply(&namespace);
    reset(&["--allow-host-network"]).apply(&namespace);
    assert!(namespace.command(&["nft", "list", "ruleset"]).contains("packets 0 bytes 0"));
    // Where /proc is not mounted, the run goes on.
    let nothing = tempfile::tempdir().unwrap();
    let run = Intercept::new(&["-b", "*"]).folder(nothing.path(), "/proc/sys/net").run(&pod);
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success() && said.contains("cannot be determined"), "{said}");
}

// Privileges.

const NEEDS_NET_ADMIN: &str = "help: CAP_NET_ADMIN is needed in the user namespace that owns this network namespace; a pod \
                               gets it by securityContext.capabilities.add: [NET_ADMIN]\n";

#[test]
fn without_privileges_the_missing_one_is_named() {
    let Some(namespace) = place() else { return };
    let refused =
        format!("error: the kernel refused the ruleset: EPERM: Operation not permitted\n{NEEDS_NET_ADMIN}");
    for (args, text) in [
        (&["-b", "*"][..], format!("{DECISION}{refused}")),
        (&["-b", "*", "--keep-counters"], format!("{DECISION}{refused}")),
        (&["-b", "*", "--check"], format!("{DECISION}{refused}")),
        (&["--cleanup-only"], refused.clone()),
        (
            &["-b", "*", "--dual-stack"],
            format!("info: IPv6 on: the pod has an IPv6 address, fd00::2\n{refused}"),
        ),
    ] {
        assert_fails(&namespace, Intercept::new(args).user(NOBODY), 1, &text);
    }
}

#[test]
fn net_admin_is_enough() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("nft") || !oracle("ip") || !oracle("setpriv") {
        return;
    }
    let only = |capability: &str, args: &[&str]| {
        let bounds = format!("--bounding-set=-all,+{capability}");
        Intercept::new(args).through(&["setpriv", &bounds, "--inh-caps=-all", "--no-new-privs"])
    };
    for args in
        [&["-b", "*", "-i", "*"][..], &["-b", "*", "-m", "TPROXY", "--dual-stack"], &["--cleanup-only"]]
    {
        only("net_admin", args).apply(&namespace);
    }
    let text = format!(
        "{DECISION}error: the kernel refused the ruleset: EPERM: Operation not permitted\n{NEEDS_NET_ADMIN}"
    );
    assert_fails(&namespace, only("net_raw", &["-b", "*"]), 1, &text);
}

// Kernels.

#[test]
fn an_old_kernel_is_used_as_far_as_it_goes() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("setarch") {
        return;
    }
    // The kernel's own pretence for programs that cannot count any further (personality(2), UNAME26).
    let pretending =
        || Intercept::new(&["-b", "*"]).through(&["setarch", std::env::consts::ARCH, "--uname-2.6"]);
    let output = pretending().run(&namespace);
    let said = String::from_utf8(output.stderr).unwrap();
    let warning = said.lines().next().unwrap();
    assert!(warning.starts_with("warn: this kernel is Linux 2.6."), "{said}");
    assert!(warning.contains("made for 5.13 and later"), "{said}");
    assert!(output.status.success(), "{said}");
    let output = pretending().with(&["--dry-run"]).run(&namespace);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), DECISION);
}

// Halfway.

#[test]
fn what_was_added_before_a_failure_is_taken_back() {
    for (family, added) in [("-4", 0), ("-6", 1)] {
        let Some(namespace) = Setting::namespace() else { return };
        if !oracle("nft") || !oracle("ip") {
            return;
        }
        namespace.command(&["ip", family, "route", "add", "unreachable", "default", "table", "133"]);
        let (name, found) = [("IPv4", "unreachable"), ("IPv6", "unreachable, link 1")][added];
        let text = format!(
            "info: IPv6 on: the pod has an IPv6 address, fd00::2\n\
             error: cannot add the {name} route local default dev lo table 133: EEXIST: the table has a default route \
             that is not ours ({found})\nhelp: remove that route, or choose another table\n"
        );
        let command = Intercept::new(&["-b", "*", "-m", "TPROXY", "--dual-stack"]);
        assert_fails(&namespace, command, 1, &text);
        assert_eq!(of_the_command(&network(&namespace)).len(), 1);
    }
}

#[test]
fn a_table_that_another_process_holds_is_left_to_it() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("nft") || !oracle("ip") {
        return;
    }
    let Some(holder) = owned_table(&namespace, "istio-proxy-nat") else { return };
    let before = network(&namespace);
    let why = "EPERM: Operation not permitted\n\
               help: the table belongs to another process (flag owner), and can be changed when that has ended";
    for (flags, what) in [
        (&[][..], "table inet istio-proxy-nat"),
        (&["--keep-counters"], "table inet istio-proxy-nat"),
        (&["--check"], "table inet istio-proxy-nat"),
        (&["--cleanup-only"], "the removal of table inet istio-proxy-nat: attribute 1 (name)"),
    ] {
        let output = Intercept::new(&["-b", "*", "-m", "TPROXY"]).with(flags).run(&namespace);
        let said = String::from_utf8(output.stderr).unwrap();
        let text = format!("error: the kernel refused {what}: {why}\n");
        assert_eq!(said.trim_start_matches(DECISION), text, "{flags:?}");
        assert_eq!((output.status.code(), network(&namespace)), (Some(1), before.clone()));
    }
    drop(holder);
    intercept(&namespace, &["-b", "*", "-m", "TPROXY"]);
}

// What the kernel refuses, and what is said about it.

/// What is said of a batch that the kernel refuses, and what to do. `None` where it takes it.
fn refused(namespace: &Namespace, fill: impl FnOnce(&mut Batch) + Send) -> Option<(String, String)> {
    namespace.run(|| {
        let mut batch = Batch::new();
        batch.add_table(&Table::new(Family::Inet, "t"));
        batch.add_chain(&Chain::new(Family::Inet, "t", "c"));
        fill(&mut batch);
        let error = ApplyError::from(Socket::open().unwrap().commit(&mut batch).err()?);
        Some((error.to_string(), error.explanation().help.unwrap_or_default()))
    })
}

fn rule(batch: &mut Batch, expressions: &[Expr<'_>]) {
    batch.add_rule(&nftwire::Rule::new(Family::Inet, "t", "c"), Position::Append, expressions);
}

#[test]
fn help_fits_what_the_kernel_refused() {
    let Some(namespace) = Setting::namespace() else { return };
    let says = |fill: &(dyn Fn(&mut Batch) + Sync), error: &str, help: &str| {
        let (found, found_help) = refused(&namespace, fill).expect("the kernel takes it");
        // Whether the name of a busy chain is pointed at depends on the kernel.
        let found = found.replace("attribute 3 (name): ", "");
        assert_eq!(found, format!("the kernel refused {error}"));
        assert!(found_help.starts_with(help), "{found_help}");
    };
    let lookup =
        expr::Lookup { set: "nowhere".into(), set_id: 0, sreg: Register::R1, dreg: None, inverted: false };
    let mark = expr::Meta { key: expr::MetaKey::Mark, access: expr::Access::Load(Register::R1) };
    says(
        &|batch| rule(batch, &[mark.into(), lookup.into()]),
        "the ruleset: expression 2 (lookup): ENOENT: No such file or directory",
        "the chain, the set or the object that it names is not in the table",
    );
    let jump = |chain| Expr::from(expr::Immediate::Verdict(nftwire::Verdict::Jump(chain)));
    says(
        &|batch| rule(batch, &[jump("nowhere".into())]),
        "the ruleset: expression 1 (immediate): ENOENT: No such file or directory",
        "the chain, the set or the object that it names is not in the table",
    );
    says(
        &|batch| {
            batch.add_chain(&Chain::new(Family::Inet, "t", "busy"));
            rule(batch, &[jump("busy".into())]);
            batch.del_chain(Family::Inet, "t", "busy");
        },
        "the ruleset: EBUSY: Device or resource busy",
        "a rule or a map of the same table still uses it",
    );
    let input = || {
        let base = nftwire::BaseChain { kind: "filter", hook: Hook::LocalIn, priority: 0, policy: None };
        Chain { base: Some(base), ..Chain::new(Family::Inet, "t", "in") }
    };
    says(
        &|batch| {
            // Only what packets can reach is searched.
            batch.add_chain(&input());
            batch.add_rule(
                &nftwire::Rule::new(Family::Inet, "t", "in"),
                Position::Append,
                &[jump("c".into())],
            );
            rule(batch, &[jump("c".into())]);
        },
        "the ruleset: EMLINK: Too many links",
        "its jumps form a loop, or are nested deeper than 15",
    );
    let ct = expr::Ct { key: expr::CtKey::State, direction: None, access: expr::Access::Store(Register::R1) };
    says(
        &|batch| rule(batch, &[mark.into(), ct.into()]),
        "the ruleset: expression 2 (ct): EOPNOTSUPP: Operation not supported on transport endpoint",
        "this kernel's ct cannot do that, or not in this family (added in Linux 3.13",
    );
    says(
        &|batch| {
            batch.add_chain(&input());
            let redirect = [expr::Redir::default().into()];
            batch.add_rule(&nftwire::Rule::new(Family::Inet, "t", "in"), Position::Append, &redirect);
        },
        "the ruleset: EOPNOTSUPP: Operation not supported on transport endpoint",
        "it is not allowed in a chain of this type, or at this hook",
    );
}

/// On a kernel that does not have it; on others this says nothing.
#[test]
fn a_missing_expression_is_named_with_its_module_and_option() {
    let Some(namespace) = Setting::namespace() else { return };
    let queue = expr::Queue { number: expr::QueueNumber::Range { first: 0, total: 1 }, flags: 0 };
    let Some((error, help)) = refused(&namespace, |batch| rule(batch, &[queue.into()])) else {
        say("this kernel has the expression queue");
        return;
    };
    assert_eq!(
        error,
        "the kernel refused the ruleset: expression 1 (queue): ENOENT: No such file or directory"
    );
    assert_eq!(
        help,
        "this kernel has no expression queue: load the module nft_queue on the node (modprobe nft_queue), or take a kernel \
         with CONFIG_NFT_QUEUE"
    );
}

#[test]
fn another_generation_is_reported_as_stale() {
    let Some(namespace) = Setting::namespace() else { return };
    let error = namespace.run(|| {
        let mut batch = Batch::new();
        batch.require_generation(4711);
        batch.add_table(&Table::new(Family::Inet, "t"));
        Socket::open().unwrap().commit(&mut batch).unwrap_err()
    });
    assert_eq!(error.to_string(), "lost race: other processes keep changing or checking the ruleset");
    let help = error.explanation().help.unwrap();
    assert!(help.starts_with("something changes or checks the ruleset again and again"), "{help}");
}

/// The last line of standard error, of a run that fails with JSON as its output.
#[track_caller]
fn failure_in_json(namespace: &Namespace, command: Intercept) -> Value {
    let output = command.with(&["--output", "json"]).run(namespace);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    let lines: Vec<Value> = String::from_utf8(output.stderr)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let last = lines.last().unwrap();
    assert_eq!((&last["level"], &last["msg"]), (&Value::from("error"), &last["error"]["text"]));
    last["error"].clone()
}

#[test]
fn a_failure_in_json_has_its_parts() {
    let Some(namespace) = place() else { return };
    let denied = failure_in_json(&namespace, Intercept::new(&["-b", "*"]).user(NOBODY));
    assert_eq!(denied["errno"], "EPERM");
    assert!(denied["help"].as_str().unwrap().contains("CAP_NET_ADMIN"), "{denied}");

    let path = ["--network-namespace", "/run/netns/nowhere"];
    let gone = failure_in_json(&namespace, Intercept::new(&path));
    assert_eq!((&gone["errno"], &gone["place"]["file"]), (&"ENOENT".into(), &"/run/netns/nowhere".into()));

    let unread = failure_in_json(&namespace, Intercept::new(&["--redirect-dns"]));
    assert_eq!((&unread["errno"], &unread["place"]["setting"]), (&"ENOENT".into(), &"--redirect-dns".into()));

    let bare = Namespace::with_addresses(&["10.0.0.2"]);
    let mut holder = bare.run(|| Socket::open().unwrap());
    let mut batch = Batch::new();
    batch.add_table(&Table { flags: TableFlags::OWNER, ..Table::new(Family::Inet, "istio-proxy-nat") });
    holder.commit(&mut batch).unwrap();
    let held = failure_in_json(&bare, Intercept::new(&["-b", "*"]));
    let place = &held["place"];
    assert_eq!((&held["errno"], &place["table"]), (&"EPERM".into(), &"istio-proxy-nat".into()), "{held}");
    assert!(held["help"].as_str().unwrap().starts_with("the table belongs to another process"), "{held}");
}
