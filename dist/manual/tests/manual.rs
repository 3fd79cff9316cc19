//! The pages and the completions as programs read them that we did not write: mandoc, and the shells.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::fs;
use std::process::Command;

use meshwire_manual::{completions, pages};
use meshwire_testkit::oracle;

#[test]
fn every_page_has_its_sections() {
    let pages = pages("2026-01-31");
    for name in [
        "meshwire.8",
        "meshwire-list.8",
        "meshwire-ambient-pod-apply.8",
        "meshwire-agent.8",
        "meshwire-cni.8",
    ] {
        assert!(pages.iter().any(|(page, _)| page == name), "{name}");
    }
    for (name, text) in &pages {
        if let Some(target) = text.strip_prefix(".so man8/") {
            assert!(pages.iter().any(|(page, _)| page == target.trim_end()), "{name} leads to {target}");
            continue;
        }
        let has = |section: &str| {
            text.contains(&format!("\n.SH {section}\n")) || text.contains(&format!("\n.SH \"{section}\"\n"))
        };
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"] {
            assert!(has(section), "{name}: {section}");
        }
        assert!(has("EXAMPLES") || has("COMMANDS"), "{name} has neither examples nor commands");
        assert!(!text.contains("Exit codes") && !text.contains("Environment only"), "{name}: {text}");
    }
    let (_, istio) = pages.iter().find(|(name, _)| name == "meshwire-istio-iptables.8").unwrap();
    for part in ["\n.SH ENVIRONMENT\n", "ENVOY_USER", "INBOUND_CAPTURE_PORT", "126", "REDIRECT, TPROXY"] {
        assert!(istio.contains(part), "{part} in {istio}");
    }
    let (_, nft) = pages.iter().find(|(name, _)| name == "meshwire-nft.8").unwrap();
    assert!(nft.contains("numeric\\-priority"), "{nft}");
}

#[test]
fn mandoc_finds_nothing() {
    if !oracle("mandoc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut lint = Command::new("mandoc");
    // Another page that is referred to need not be installed.
    lint.args(["-Tlint", "-Wstyle"]).current_dir(folder.path());
    for (name, text) in pages("2026-01-31").iter().filter(|(_, text)| !text.starts_with(".so")) {
        fs::write(folder.path().join(name), text).unwrap();
        lint.arg(name);
    }
    let output = lint.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    assert!(output.status.success());
}

#[test]
fn shells_complete_the_names_and_the_values() {
    let folder = tempfile::tempdir().unwrap();
    completions(folder.path()).unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    for name in ["meshwire", "istio-iptables", "proxy-init", "linkerd2-proxy-init"] {
        assert!(read(&format!("fish/{name}.fish")).contains(&format!("complete -c {name} ")), "{name}");
        assert!(read(&format!("zsh/_{name}")).starts_with(&format!("#compdef {name}\n")), "{name}");
    }
    // bash itself completes the value of a flag, under a name that is not the program's.
    for (name, words, expected) in [
        ("istio-iptables", "istio-iptables -m", "REDIRECT TPROXY"),
        ("linkerd2-proxy-init", "linkerd2-proxy-init --iptables-mode", "legacy nft plain"),
        ("meshwire", "meshwire list --output", "text json"),
    ] {
        let script = format!(
            "source bash/{name}.bash; words=({words} ''); COMP_WORDS=(\"${{words[@]}}\"); COMP_CWORD=$((${{#words[@]}} - 1)); \
             $(complete -p {name} | sed 's/.*-F \\([^ ]*\\).*/\\1/') {name} '' \"${{words[-2]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let output = Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap().trim(),
            expected,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
