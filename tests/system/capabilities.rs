//! The capabilities that each command needs, as docs/privileges.md lists them: with these it works, and without any of them it
//! does not.

use std::path::Path;
use std::process::Output;

use crate::harness::{Intercept, Namespace, oracle};
use crate::settings::Setting;

/// The file of the network namespace.
const HERE: &str = "/etc/netns";

/// Each command, and what it needs.
const COMMANDS: [(&str, &[&str]); 23] = [
    ("istio-iptables -b * -i *", &["net_admin"]),
    ("istio-iptables -b * -i * -m TPROXY --dual-stack --keep-counters", &["net_admin"]),
    ("istio-iptables -b * --lockdown", &["net_admin"]),
    ("istio-iptables -b * --check", &["net_admin"]),
    ("istio-iptables -b * --dry-run", &[]),
    ("istio-iptables -b * --skip-rule-apply", &[]),
    ("istio-iptables -b * --network-namespace /etc/netns", &["net_admin", "sys_admin"]),
    ("list", &["net_admin"]),
    ("list ruleset --counters", &["net_admin"]),
    ("list --netns /etc/netns", &["net_admin", "sys_admin"]),
    ("graph", &["net_admin"]),
    ("reset counters", &["net_admin"]),
    ("verify istio-iptables -b *", &["net_admin"]),
    ("ambient pod apply", &["net_admin"]),
    ("ambient pod apply --netns /etc/netns", &["net_admin", "sys_admin"]),
    ("ambient host apply --kubelet-uid 0", &["net_admin"]),
    ("ambient probes list", &["net_admin"]),
    ("proxy-init -p 4143 -o 4140 -u 2102", &["net_admin"]),
    ("proxy-init -p 4143 -o 4140 -u 2102 --lockdown", &["net_admin"]),
    ("proxy-init -p 4143 -o 4140 -u 2102 --netns /etc/netns", &["net_admin", "sys_admin"]),
    ("proxy-init -p 4143 -o 4140 -u 2102 --simulate", &[]),
    ("verify proxy-init -p 4143 -o 4140 -u 2102", &["net_admin"]),
    ("istio-iptables --cleanup-only", &["net_admin"]),
];

#[test]
fn each_command_needs_what_the_readme_says() {
    let Some(namespace) = Setting::namespace() else { return };
    if !oracle("setpriv") {
        return;
    }
    for (command, capabilities) in COMMANDS {
        let output = run(&namespace, command, capabilities);
        let text = String::from_utf8_lossy(&output.stderr);
        // 3 is the answer of verify.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{command} with {capabilities:?}: {text}");
        for missing in capabilities {
            let others: Vec<_> = capabilities.iter().filter(|other| *other != missing).copied().collect();
            let output = run(&namespace, command, &others);
            assert_eq!(output.status.code(), Some(1), "{command} with {others:?}");
            let text = String::from_utf8_lossy(&output.stderr);
            let name = format!("CAP_{}", missing.to_uppercase());
            assert!(
                text.contains(&name) || text.contains("not permitted"),
                "{command} with {others:?}: {text}"
            );
        }
    }
    let page = include_str!("../../docs/privileges.md");
    for name in ["`list`", "`graph`", "`reset counters`", "`verify`", "`demo`", "CAP_SYS_ADMIN"] {
        assert!(page.contains(name), "{name}");
    }
}

/// As root of a container that has these capabilities, and cannot get others.
fn run(namespace: &Namespace, command: &str, capabilities: &[&str]) -> Output {
    let bounds = capabilities.iter().fold("-all".to_owned(), |bounds, name| format!("{bounds},+{name}"));
    Intercept::command_line(&command.split_whitespace().collect::<Vec<_>>())
        .through(&["setpriv", &format!("--bounding-set={bounds}"), "--inh-caps=-all", "--no-new-privs"])
        .etc("netns", "")
        .folder(Path::new(&namespace.path()), HERE)
        .run(namespace)
}
