//! How the command is called, and what it says.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::Value;

use crate::harness::nft::{assert_same, meaning, objects};
use crate::harness::{ISTIO_ARGS, Intercept, Namespace, User, network, oracle, privileged};
use crate::settings::Setting;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The ruleset that the command prints when called like this.
fn printed(namespace: &Namespace, command: Intercept) -> String {
    command.with(&["--dry-run"]).apply(namespace)
}

// Names and arguments.

#[test]
fn istios_template_is_taken_word_for_word() {
    let Some(namespace) = Setting::namespace() else { return };
    let template = Intercept::new(&ISTIO_ARGS);
    let expected = "\
table inet istio-proxy-nat {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		meta nfproto ipv6 counter return
		meta l4proto tcp counter jump istio-inbound
	}

	chain output {
		type nat hook output priority -100; policy accept;
		meta nfproto ipv6 counter return
		counter jump istio-output
	}

	chain istio-inbound {
		tcp dport 15008 counter return
		tcp dport 15090 counter return
		tcp dport 15021 counter return
		tcp dport 15020 counter return
		meta l4proto tcp counter jump istio-in-redirect
	}

	chain istio-redirect {
		meta l4proto tcp counter redirect to :15001
	}

	chain istio-in-redirect {
		meta l4proto tcp counter redirect to :15006
	}

	chain istio-output {
		oifname \"lo\" ip saddr 127.0.0.6 counter return
		oifname \"lo\" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 counter jump istio-in-redirect
		oifname \"lo\" meta skuid != 1337 counter return
		meta skuid 1337 counter return
		oifname \"lo\" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 counter jump istio-in-redirect
		oifname \"lo\" meta skgid != 1337 counter return
		meta skgid 1337 counter return
		ip daddr 127.0.0.1 counter return
		counter jump istio-redirect
	}
}
";
    assert_eq!(printed(&namespace, template), expected);
}

#[test]
fn the_name_istio_iptables_is_the_subcommand() {
    let Some(namespace) = Setting::namespace() else { return };
    let args = ["-m", "TPROXY", "-b", "*", "--log_output_level", "default:info", "-i", "*"];
    let by_subcommand = printed(&namespace, Intercept::new(&args));
    assert_eq!(printed(&namespace, Intercept::new(&args).by_istios_name()), by_subcommand);
    // As pilot-agent is called in the image.
    let twice = Intercept::new(&[&["istio-iptables"], &args[..]].concat()).by_istios_name();
    assert_eq!(printed(&namespace, twice), by_subcommand);

    let wrong = Intercept::new(&["-p", "70000"]).by_istios_name().run(&namespace);
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(stderr(&wrong), "error: --envoy-port: \"70000\" is not a port (0 to 65535)\n");
}

#[test]
fn every_flag_has_its_variable() {
    let Some(namespace) = Setting::namespace() else { return };
    for (context, flag, variables, value) in [
        ("-i *", "envoy-port", &[][..], "16001"),
        ("-b *", "inbound-capture-port", &["INBOUND_CAPTURE_PORT"], "16006"),
        ("-b *", "inbound-tunnel-port", &["INBOUND_TUNNEL_PORT"], "16008"),
        ("", "proxy-uid", &["PROXY_UID"], "3,4"),
        ("", "proxy-gid", &["PROXY_GID"], "1,2"),
        ("-b *", "istio-inbound-interception-mode", &["ISTIO_INBOUND_INTERCEPTION_MODE"], "TPROXY"),
        ("", "istio-inbound-ports", &["ISTIO_INBOUND_PORTS"], "80,81"),
        ("-b *", "istio-local-exclude-ports", &["ISTIO_LOCAL_EXCLUDE_PORTS"], "22"),
        ("", "istio-exclude-interfaces", &["ISTIO_EXCLUDE_INTERFACES"], "eth1"),
        ("", "istio-service-cidr", &["ISTIO_SERVICE_CIDR"], "10.0.0.0/8"),
        ("-i *", "istio-service-exclude-cidr", &["ISTIO_SERVICE_EXCLUDE_CIDR"], "10.0.0.0/8"),
        ("", "istio-outbound-ports", &["ISTIO_OUTBOUND_PORTS"], "443"),
        ("-i *", "istio-local-outbound-ports-exclude", &["ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"], "5432"),
        ("-i *", "kube-virt-interfaces", &["KUBE_VIRT_INTERFACES"], "tap0"),
        ("-b * -m TPROXY", "istio-inbound-tproxy-mark", &["ISTIO_INBOUND_TPROXY_MARK"], "1400"),
        ("--capture-all-dns", "redirect-dns", &["REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"], "true"),
        ("--redirect-dns", "capture-all-dns", &["CAPTURE_ALL_DNS"], "true"),
        ("", "drop-invalid", &["DROP_INVALID", "INVALID_DROP"], "true"),
        ("", "dual-stack", &["DUAL_STACK", "ISTIO_DUAL_STACK"], "true"),
        ("", "native-nftables", &["NATIVE_NFTABLES"], "true"),
    ] {
        let command = || {
            let args: Vec<_> = context.split_whitespace().collect();
            Intercept::new(&args).etc("resolv.conf", "nameserver 10.96.0.10\n")
        };
        let without = printed(&namespace, command());
        let by_flag = printed(&namespace, command().with(&[&format!("--{flag}={value}")]));
        assert_ne!(by_flag, without, "{flag}");
        for variable in variables {
            assert_eq!(printed(&namespace, command().env(variable, value)), by_flag, "{variable}");
            // The flag wins, even when it says less.
            let off = format!("--{flag}={}", if value == "true" { "false" } else { value });
            let both = command().env(variable, "something wrong").with(&[&off]);
            let expected = if value == "true" { &without } else { &by_flag };
            assert_eq!(printed(&namespace, both), *expected, "{variable} and {off}");
        }
    }
}

#[test]
fn what_is_done_can_be_said_by_variables() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("nft") || !oracle("ip") {
        return;
    }
    let before = (objects(&namespace), network(&namespace));
    let command = || Intercept::new(&["-b", "*", "-m", "TPROXY", "--dual-stack"]);
    let unchanged = || (objects(&namespace), network(&namespace)) == before;

    assert_eq!(command().env("DRY_RUN", "1").apply(&namespace), printed(&namespace, command()));
    assert!(unchanged());
    assert_eq!(command().env("SKIP_RULE_APPLY", "TRUE").apply(&namespace), "");
    assert!(unchanged());
    command().env("ISTIO_INBOUND_TPROXY_ROUTE_TABLE", "200").apply(&namespace);
    assert_eq!(namespace.command(&["ip", "route", "show", "table", "200"]).lines().count(), 1);
    let clean_up = Intercept::new(&[]).env("CLEANUP_ONLY", "t");
    clean_up.env("ISTIO_INBOUND_TPROXY_ROUTE_TABLE", "200").apply(&namespace);
    assert!(unchanged());

    let elsewhere = Namespace::new();
    command().env("NETWORK_NAMESPACE", &namespace.path()).apply(&elsewhere);
    assert!(objects(&elsewhere).is_empty() && !objects(&namespace).is_empty());
}

#[test]
fn an_empty_variable_is_neither_a_number_nor_a_switch() {
    let Some(namespace) = Setting::namespace() else { return };
    let empty = [
        "INBOUND_CAPTURE_PORT",
        "ISTIO_INBOUND_TPROXY_MARK",
        "PROBE_TIMEOUT",
        "DRY_RUN",
        "DROP_INVALID",
        "PROXY_UID",
    ];
    let command = empty.iter().fold(Intercept::new(&["-b", "*"]), |command, name| command.env(name, ""));
    assert_eq!(printed(&namespace, command), printed(&namespace, Intercept::new(&["-b", "*"])));
    // An empty first name does not hide the second one.
    let command = Intercept::new(&[]).env("DROP_INVALID", "").env("INVALID_DROP", "true");
    assert_eq!(printed(&namespace, command), printed(&namespace, Intercept::new(&["--drop-invalid"])));
}

#[test]
fn the_proxys_user_can_be_named() {
    let Some(namespace) = Setting::namespace() else { return };
    let command = || {
        Intercept::new(&[])
            .etc("passwd", "root:x:0:0::/:\nistio-proxy:x:1338:1338::/:\nenvoy:x:101:101::/:\n")
            .etc("group", "mesh:x:2000:\n")
    };
    let uids = |text: &str| printed(&namespace, Intercept::new(&["-u", text, "-g", text]));
    assert_eq!(printed(&namespace, command()), uids("1338"));
    assert_eq!(printed(&namespace, command().env("ENVOY_USER", "envoy")), uids("101"));
    assert_eq!(printed(&namespace, command().env("ENVOY_USER", "nobody")), uids("1337"));
    assert_eq!(printed(&namespace, command().with(&["-u", "envoy,7"])), uids("101,7"));
    let expected = printed(&namespace, Intercept::new(&["-u", "1338", "-g", "2000"]));
    assert_eq!(printed(&namespace, command().with(&["-g", "mesh"])), expected);
}

// Where.

#[test]
fn the_callers_own_namespace_is_untouched_when_it_works_in_another() {
    let (Some(place), Some(caller)) = (Setting::namespace(), Setting::namespace()) else { return };
    if !oracle("nft") || !oracle("ip") {
        return;
    }
    let args = ["-b", "*", "-m", "TPROXY", "--redirect-dns", "--capture-all-dns", "--dual-stack"];
    let before = (objects(&caller), network(&caller), network(&place));
    let alone = Setting::namespace().unwrap();
    Intercept::new(&args).apply(&alone);
    let there = format!("--network-namespace={}", place.path());

    Intercept::new(&args).with(&[&there]).apply(&caller);
    assert_same("in the other namespace", &meaning(&place), &meaning(&alone));
    assert_eq!(network(&place), network(&alone));
    assert_eq!((objects(&caller), network(&caller)), (before.0.clone(), before.1.clone()));

    Intercept::new(&["--cleanup-only", &there]).apply(&caller);
    assert_eq!((objects(&place), network(&place)), (Vec::new(), before.2));
    assert_eq!((objects(&caller), network(&caller)), (before.0, before.1));
}

// What is printed, and where.

#[test]
fn the_result_is_one_line_about_the_new_state() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("nft") {
        return;
    }
    let args = ["-b", "*", "-m", "TPROXY", "--redirect-dns", "--capture-all-dns"];
    let output = Intercept::new(&args).run(&namespace);
    let count = |kind: &str| objects(&namespace).iter().filter(|object| object.get(kind).is_some()).count();
    let (tables, chains, rules) = (count("table"), count("chain"), count("rule"));
    let line = stdout(&output);
    let rest =
        line.strip_prefix(&format!("applied: tables {tables}, chains {chains}, rules {rules}, bytes "));
    let (bytes, time) = rest.unwrap().trim_end().split_once(", µs ").unwrap();
    assert!(bytes.parse::<usize>().unwrap() > 5_000 && time.parse::<usize>().unwrap() > 0, "{line}");
    assert_eq!(line.lines().count(), 1);

    for (done, flag) in [("applied", ""), ("valid", "--check"), ("removed", "--cleanup-only")] {
        let flag: &[_] = if flag.is_empty() { &[] } else { &[flag] };
        let output = Intercept::new(&args).with(&["--output", "json"]).with(flag).run(&namespace);
        let line = stdout(&output);
        let result: Value = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(result["result"], done);
        let left = if done == "removed" { (0, 0, 0) } else { (tables, chains, rules) };
        assert_eq!(
            [&result["tables"], &result["chains"], &result["rules"]],
            [left.0, left.1, left.2].map(Value::from).each_ref()
        );
        assert!(result["bytes"].as_u64().unwrap() > 0 && result["microseconds"].is_u64(), "{line}");
        assert!(!line.contains("\n\n") && line.lines().count() == 1);
    }
}

#[test]
fn a_dry_run_prints_the_ruleset_alone() {
    let Some(namespace) = Setting::namespace() else { return };
    // With something to warn of, and something to validate that does not exist.
    let args = ["-b", "*", "--force-iptables-binary", "legacy", "--dry-run", "--run-validation"];
    let text = stdout(&Intercept::new(&args).run(&namespace));
    assert!(text.starts_with("table inet istio-proxy-nat {\n") && text.ends_with("\n}\n"), "{text}");
    let output = Intercept::new(&args).with(&["--output", "json", "--log_as_json"]).run(&namespace);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(json["nftables"].is_array());
    assert_eq!(
        stderr(&Intercept::new(&args).run(&namespace)),
        "warn: --force-iptables-binary is ignored: no iptables is used here\n\
         info: IPv6 off: the pod's first address, 10.0.0.2, is IPv4\n"
    );
}

/// Istio's command takes them, and does nothing with them.
#[test]
fn stray_arguments_are_ignored_with_a_warning() {
    let Some(namespace) = Setting::namespace() else { return };
    let expected = printed(&namespace, Intercept::new(&["-b", "*", "-n"]));
    for (args, warnings) in [
        (&["init"][..], &["the argument \"init\" is ignored"][..]),
        (&["--vklog=6"], &[]),
        (&["--vklog", "6"], &[]),
        (&["--dry-run", "true"], &["the argument \"true\" is ignored"]),
    ] {
        let run = Intercept::new(&["-b", "*"]).with(args).with(&["-n"]).run(&namespace);
        assert_eq!(String::from_utf8(run.stdout.clone()).unwrap(), expected, "{args:?}");
        let said = stderr(&run);
        let found: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("warn: ")).collect();
        assert_eq!(found, warnings, "{args:?}");
    }
}

#[test]
fn logs_in_json_are_one_object_a_line() {
    let Some(namespace) = Setting::namespace() else { return };
    for (args, levels) in [
        (&["--force-iptables-binary", "nft"][..], &["warn", "info", "warn"][..]),
        (&["--check", "-i", "10.0.0.0/8"], &["info"]),
        (&["--cleanup-only"], &[]),
        (&["-p", "70000"], &["error"]),
        (&["-c", "a\"b\\\n\u{7}"], &["error"]),
        (&["--network-namespace", "/nowhere"], &["error"]),
        (&["--bogus"], &["error"]),
        (&["-p"], &["error"]),
    ] {
        for flag in ["--log_as_json", "--log_as_json=true"] {
            let output = Intercept::new(&[flag]).with(args).run(&namespace);
            let mut found = Vec::new();
            for line in stderr(&output).lines() {
                let line: Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                let object = line.as_object().unwrap();
                let keys: Vec<_> = object.keys().collect();
                if object["level"] == "error" {
                    assert_eq!(keys, ["error", "level", "msg", "time"]);
                    assert_eq!(object["error"]["text"], object["msg"]);
                } else {
                    assert_eq!(keys, ["level", "msg", "time"]);
                }
                assert!(!object["msg"].as_str().unwrap().is_empty());
                assert!(object["time"].as_str().unwrap().ends_with('Z'));
                found.push(object["level"].as_str().unwrap().to_owned());
            }
            assert_eq!(found, levels, "{args:?}");
        }
    }
}

// Where Kubernetes looks.

/// How a run ends that sees a /dev of its own, and what is in its termination log, if there is one.
fn with_termination_log(
    namespace: &Namespace,
    command: Intercept,
    contents: Option<&str>,
) -> (Output, Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("termination-log");
    if let Some(contents) = contents {
        fs::write(&file, contents).unwrap();
    }
    let output = command.folder(folder.path(), "/dev").run(namespace);
    (output, fs::read_to_string(file).ok())
}

#[test]
fn a_failure_goes_to_the_termination_log() {
    let (Some(namespace), true) = (Setting::namespace(), privileged()) else { return };
    let bare = Namespace::new();
    let long = "x".repeat(5_000);
    for (place, args) in [
        (&namespace, &["-p", "70000"][..]),
        (&namespace, &["-p", "70000", "--log_as_json"]),
        (&namespace, &["--network-namespace", "/nowhere"]),
        (&namespace, &["--bogus"]),
        (&namespace, &["-b", &long]),
        (&bare, &["-b", "*"]),
    ] {
        let (output, log) =
            with_termination_log(place, Intercept::new(args), Some("older and longer ".repeat(9).as_str()));
        let log = log.unwrap();
        assert!(!output.status.success());
        let said = stderr(&output);
        let said = match serde_json::from_str::<Value>(&said) {
            Ok(line) => match line["error"]["help"].as_str() {
                Some(help) => format!("{}\nhelp: {help}", line["msg"].as_str().unwrap()),
                None => line["msg"].as_str().unwrap().to_owned(),
            },
            Err(_) => said.strip_prefix("error: ").unwrap().trim_end().to_owned(),
        };
        assert!(log.len() <= 4096 && !log.is_empty());
        assert_eq!(log.trim_end(), &said[..said.len().min(4096)], "{args:?}");
    }
}

#[test]
fn a_success_and_a_missing_file_leave_no_termination_log() {
    let Some(namespace) = Setting::namespace() else { return };
    let (output, log) = with_termination_log(&namespace, Intercept::new(&["-b", "*"]), Some(""));
    assert!(output.status.success());
    assert_eq!(log.unwrap(), "");
    let (output, log) = with_termination_log(&namespace, Intercept::new(&["-p", "70000"]), None);
    assert_eq!((output.status.code(), log), (Some(2), None));
    // It is the kubelet's, and this user may not write to it.
    let command = Intercept::new(&["-p", "70000"]).user(User { uid: 1_000_680_000, gid: 0 });
    let (output, log) = with_termination_log(&namespace, command, Some("older"));
    assert_eq!((output.status.code(), log.as_deref()), (Some(2), Some("older")));
}
