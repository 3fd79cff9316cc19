//! The command line by itself: help, versions, and what is refused before anything is looked at. Needs no privilege, and
//! nothing here gets as far as to change a machine.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// How a call ends: its code, standard output and standard error.
fn meshwire(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwire"));
    command.args(args).env_clear().envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The call is refused as wrong usage with this one line.
#[track_caller]
fn assert_refused(args: &[&str], variables: &[(&str, &str)], text: &str) {
    // Should one of them be taken after all, it only prints, or ends at once.
    let harmless = match args.first() {
        Some(&"proxy-init") => "--simulate",
        Some(&"validate") => "--timeout=0",
        _ => "--dry-run",
    };
    let args = [args, &[harmless]].concat();
    let expected = (Some(2), String::new(), format!("error: {text}\n"));
    assert_eq!(meshwire(&args, variables), expected, "{args:?} {variables:?}");
}

#[test]
fn without_a_command_there_is_help_and_a_failure() {
    let (code, stdout, stderr) = meshwire(&[], &[]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(
        stderr.contains("\nUsage: meshwire <COMMAND>\n") && stderr.contains("\n  istio-iptables "),
        "{stderr}"
    );
}

#[test]
fn help_is_a_result() {
    for args in [&["--help"][..], &["-h"], &["help"]] {
        let (code, stdout, stderr) = meshwire(args, &[]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(stdout.contains("\nUsage: meshwire <COMMAND>\n"), "{stdout}");
    }
    for args in [&["istio-iptables", "--help"][..], &["istio-iptables", "-h"], &["help", "istio-iptables"]] {
        let (code, stdout, stderr) = meshwire(args, &[]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
        for part in [
            "\nUsage: meshwire istio-iptables [OPTIONS]\n",
            "\n  -p, --envoy-port <PORT>",
            "[env: INBOUND_CAPTURE_PORT]",
            "\n  ISTIO_OUTBOUND_OWNER_GROUPS ",
            "\nExit codes: 0 ",
        ] {
            assert!(stdout.contains(part), "{part} in {stdout}");
        }
    }
}

#[test]
fn help_to_verify_has_its_own_exit_codes() {
    for args in [["verify", "istio-iptables", "--help"], ["verify", "proxy-init", "--help"]] {
        let (code, stdout, stderr) = meshwire(&args, &[]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(
            stdout.ends_with("\nExit codes: 0 equal, 1 failed, 2 wrong usage, 3 different.\n"),
            "{stdout}"
        );
        assert_eq!(stdout.matches("Exit codes").count(), 1, "{stdout}");
    }
}

#[test]
fn the_version_is_a_result() {
    for flag in ["--version", "-V"] {
        let (code, stdout, stderr) = meshwire(&[flag], &[]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        let rest = stdout.strip_prefix(concat!("meshwire ", env!("CARGO_PKG_VERSION"), " (")).unwrap();
        let (commit, features) = rest.strip_suffix(")\n").unwrap().split_once(", features: ").unwrap();
        let is_hash = commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!((is_hash || commit == "unknown commit") && !features.is_empty(), "{stdout}");
    }
}

#[test]
fn every_command_and_flag_says_what_it_is_for() {
    fn look(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
        command.get_subcommands().for_each(look);
    }
    look(&meshwire::cli::command());
}

#[test]
fn a_flag_has_the_same_words_in_every_command() {
    fn look(command: &clap::Command, words: &mut BTreeMap<&'static str, BTreeSet<String>>) {
        for flag in ["check", "netns", "allow-host-network", "keep-counters", "optimize"] {
            let found = command.get_arguments().find(|argument| argument.get_long() == Some(flag));
            words.entry(flag).or_default().extend(found.map(|argument| {
                format!("{:?}: {}", argument.get_value_names(), argument.get_help().unwrap())
            }));
        }
        command.get_subcommands().for_each(|command| look(command, words));
    }
    let mut words = BTreeMap::new();
    look(&meshwire::cli::command(), &mut words);
    for (flag, words) in words {
        assert_eq!(words.len(), 1, "--{flag}: {words:?}");
    }
}

#[test]
fn what_nobody_knows_is_refused_in_one_line() {
    assert_refused(&["frobnicate"], &[], "unrecognized subcommand 'frobnicate' (see --help)");
    assert_refused(&["istio-iptables", "--bogus"], &[], "unexpected argument '--bogus' found (see --help)");
    assert_refused(&["istio-iptables", "-y"], &[], "unexpected argument '-y' found (see --help)");
    assert_refused(&["proxy-init", "operand"], &[], "unexpected argument 'operand' found (see --help)");
    assert_refused(
        &["istio-iptables", "--istio-inbound-port", "*"],
        &[],
        "unexpected argument '--istio-inbound-port' found; tip: a similar argument exists: '--istio-inbound-ports' (see \
         --help)",
    );
    // As in Go, a switch takes its value after an equals sign.
    assert_refused(&["proxy-init", "--ipv6", "true"], &[], "unexpected argument 'true' found (see --help)");
    let (code, stdout, stderr) = meshwire(&["istio-iptables", "--dry-run", "-p"], &[]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert_eq!(
        stderr,
        "error: a value is required for '--envoy-port <PORT>' but none was supplied (see --help)\n"
    );
}

#[test]
fn what_is_missing_is_named_in_one_line() {
    let expected = "error: the following required arguments were not provided: <TABLE> (see --help)\n";
    assert_eq!(meshwire(&["list", "table", "inet"], &[]), (Some(2), String::new(), expected.into()));
}

#[test]
fn values_that_cannot_be_used_are_named_with_their_flag_or_variable() {
    let istio = |args: &[&'static str]| [&["istio-iptables"], args].concat();
    assert_refused(&istio(&["-p", "70000"]), &[], "--envoy-port: \"70000\" is not a port (0 to 65535)");
    assert_refused(
        &istio(&[]),
        &[("INBOUND_CAPTURE_PORT", "70000")],
        "environment variable INBOUND_CAPTURE_PORT: \"70000\" is not a port (0 to 65535)",
    );
    assert_refused(
        &istio(&["-i", "10.0.0.0/8,10.0.0.1"]),
        &[],
        "--istio-service-cidr: \"10.0.0.1\" has no prefix length: write 10.0.0.1/32 (item 2)",
    );
    assert_refused(
        &istio(&["-m", "redirect"]),
        &[],
        "--istio-inbound-interception-mode: \"redirect\" is neither REDIRECT nor TPROXY",
    );
    assert_refused(&istio(&["--check=maybe"]), &[], "--check: \"maybe\" is neither true nor false");
    assert_refused(&istio(&["--output", "xml"]), &[], "--output: \"xml\" is neither text nor json");
    assert_refused(
        &istio(&["--force-iptables-binary", "ebtables"]),
        &[],
        "--force-iptables-binary: \"ebtables\" is neither legacy nor nft",
    );
    assert_refused(&istio(&["--log_as_json=x"]), &[], "--log_as_json: \"x\" is neither true nor false");
    assert_refused(
        &istio(&[]),
        &[("ISTIO_OUTBOUND_OWNER_GROUPS", "no-such-group-here")],
        "environment variable ISTIO_OUTBOUND_OWNER_GROUPS: there is no group \"no-such-group-here\" here, and it is not a \
         number",
    );
}

#[test]
fn linkerds_flags_are_in_the_help_and_their_values_in_the_errors() {
    let (code, stdout, _) = meshwire(&["proxy-init", "--help"], &[]);
    assert_eq!(code, Some(0));
    for part in [
        "\nUsage: meshwire proxy-init [OPTIONS]\n",
        "\n  -p, --incoming-proxy-port <PORT>",
        "\n  -r, --ports-to-redirect <PORTS>",
        "\nExit codes: 0 ",
    ] {
        assert!(stdout.contains(part), "{part} in {stdout}");
    }
    let linkerd = |args: &[&'static str]| [&["proxy-init", "-p", "4143", "-o", "4140"], args].concat();
    assert_refused(
        &["proxy-init", "-o", "4140"],
        &[("INCOMING_PROXY_PORT", "4143")],
        "--incoming-proxy-port: it is required: a port of the proxy, 1 to 65535",
    );
    assert_refused(
        &linkerd(&["--inbound-ports-to-ignore", "4190,4191", "--inbound-ports-to-ignore", "80-http"]),
        &[],
        "--inbound-ports-to-ignore: \"80-http\" is neither a port nor a range of ports (0 to 65535, such as 80 or \
         8000-8080) (item 3)",
    );
    // pflag takes this for a switch that is on, and an operand that means nothing.
    assert_refused(&linkerd(&["--ipv6", "false"]), &[], "unexpected argument 'false' found (see --help)");
    assert_refused(&linkerd(&["--dry-run"]), &[], "unexpected argument '--dry-run' found (see --help)");
}

#[test]
fn the_validators_values_are_named_too() {
    let validate = |args: &[&'static str]| [&["validate", "linkerd"], args].concat();
    let variable = |name: &'static str, text: &'static str| [(name, text)];
    assert_refused(
        &validate(&["--listen-addr", "4140"]),
        &[],
        "--listen-addr: \"4140\" is not an address with a port (such as 0.0.0.0:4140 or [::]:4140)",
    );
    assert_refused(
        &validate(&["--connect-addr", "localhost:80"]),
        &[],
        "--connect-addr: \"localhost:80\" is not an address with a port (such as 0.0.0.0:4140 or [::]:4140)",
    );
    assert_refused(
        &validate(&["--log-format", "xml"]),
        &[],
        "--log-format: \"xml\" is neither plain nor json",
    );
    let loud = "is none of off, error, warn, info, debug, trace";
    assert_refused(&validate(&["--log-level", "warn,loud"]), &[], &format!("--log-level: \"loud\" {loud}"));
    assert_refused(
        &validate(&[]),
        &variable("LINKERD_VALIDATOR_LOG_LEVEL", "loud"),
        &format!("environment variable LINKERD_VALIDATOR_LOG_LEVEL: \"loud\" {loud}"),
    );
    let (code, stdout, stderr) = meshwire(&["validate", "linkerd", "--timeout", "10"], &[]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert_eq!(stderr, "error: --timeout: \"10\" is not a duration (such as 5s, 1m30s or 500ms)\n");
}

#[test]
fn the_last_of_two_flags_counts() {
    assert_refused(
        &["istio-iptables", "-p", "15001", "--envoy-port=99999"],
        &[("INBOUND_CAPTURE_PORT", "15002")],
        "--envoy-port: \"99999\" is not a port (0 to 65535)",
    );
}

#[test]
fn istios_other_logging_flags_hide_nothing() {
    for log in [
        &["--log_output_level=default:info"][..],
        &["--log_output_level", "default:info"],
        &["--log_caller", "x", "--log_rotate_max_age=30"],
        &["--log_target"],
    ] {
        let args = [&["istio-iptables"], log, &["-p", "70000"]].concat();
        assert_refused(&args, &[], "--envoy-port: \"70000\" is not a port (0 to 65535)");
    }
}

#[test]
fn explain_needs_a_destination_and_an_origin_that_can_be() {
    let refused = |args: &[&str], text: &str| {
        let expected = (Some(2), String::new(), format!("error: {text}\n"));
        assert_eq!(meshwire(&[&["explain"], args].concat(), &[]), expected, "{args:?}");
    };
    refused(&[], "--to: it is required: the address and the port to explain");
    refused(
        &["--to", "10.0.0.1"],
        "--to: \"10.0.0.1\" is not an address with a port (such as 10.0.0.5:443 or [fd00::5]:443)",
    );
    refused(
        &["--to", "10.0.0.1:80", "--from", "fd00::1"],
        "--from: it is not of the same address family as --to",
    );
    refused(
        &["--to", "10.0.0.1:80", "--in", "--uid", "1000"],
        "--uid: a connection from outside has no user; leave it out, or leave out --in",
    );
}

/// The files of a crate's library, without those of the command line.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("src/cli") {
                sources(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

/// The texts of string literals, outside of comments and of the tests at the end of a file.
fn literals(source: &str) -> Vec<&str> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut literals = Vec::new();
    let (mut rest, mut before) = (code, ' ');
    while let Some(start) = rest.find(['"', '/', '\'']) {
        let (head, tail) = rest.split_at(start);
        before = head.chars().last().unwrap_or(before);
        rest = match tail.as_bytes() {
            [b'/', b'/', ..] => tail.split_once('\n').map_or("", |(_, rest)| rest),
            // A character, not a lifetime.
            [b'\'', b'"', b'\'', ..] => &tail[3..],
            [b'\'', b'\\', b'"', b'\'', ..] => &tail[4..],
            [b'"', ..] => {
                let end = match (before, head.ends_with('#')) {
                    (_, true) => tail.find("\"#"),
                    _ => {
                        let bytes = tail.as_bytes();
                        (1..bytes.len()).find(|&index| {
                            bytes[index] == b'"' && {
                                let escapes =
                                    bytes[..index].iter().rev().take_while(|byte| **byte == b'\\').count();
                                escapes % 2 == 0
                            }
                        })
                    }
                };
                let end = end.unwrap_or(tail.len() - 1);
                literals.push(&tail[1..end.max(1)]);
                &tail[end + 1..]
            }
            _ => &tail[1..],
        };
    }
    literals
}

#[test]
fn the_library_names_no_flag_and_no_command() {
    let source = r##"let a = "x \" --flag"; // "--comment"
        let b = '"'; let c = r#"raw "--raw" text"#;"##;
    assert_eq!(literals(source), ["x \\\" --flag", "raw \"--raw\" text"]);

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "ruleset/src", "netlink/src"] {
        sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 150, "{}", files.len());
    let is_flag = |text: &str| {
        text.match_indices("--").any(|(at, _)| {
            let before = text[..at].chars().next_back();
            text[at + 2..].starts_with(|next: char| next.is_ascii_lowercase())
                && before.is_none_or(|before| !before.is_alphanumeric() && before != '-')
        })
    };
    let commands: Vec<_> = meshwire::cli::command()
        .get_subcommands()
        .map(|command| format!("meshwire {}", command.get_name()))
        .collect();
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        for text in literals(&source) {
            let names = is_flag(text) || commands.iter().any(|command| text.contains(command.as_str()));
            assert!(!names, "{}: {text:?}", file.display());
        }
    }
}
