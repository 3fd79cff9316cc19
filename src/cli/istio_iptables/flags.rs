//! The flags and variables of Istio's command, and a few of our own.

use crate::cli::settings::{Kind, Setting};

const fn text(
    name: &'static str,
    short: Option<char>,
    value: &'static str,
    environment: &'static [&'static str],
    help: &'static str,
) -> Setting {
    Setting { name, short, kind: Kind::Text(value), environment, help }
}

const fn number(
    name: &'static str,
    short: Option<char>,
    value: &'static str,
    environment: &'static [&'static str],
    help: &'static str,
) -> Setting {
    Setting { name, short, kind: Kind::Number(value), environment, help }
}

const fn switch(
    name: &'static str,
    short: Option<char>,
    environment: &'static [&'static str],
    help: &'static str,
) -> Setting {
    Setting { name, short, kind: Kind::Switch, environment, help }
}

pub(super) const SETTINGS: &[Setting] = &[
    number(
        "envoy-port",
        Some('p'),
        "PORT",
        &["ENVOY_PORT"],
        "Port of the proxy to which outbound TCP is redirected [default: 15001]",
    ),
    number(
        "inbound-capture-port",
        Some('z'),
        "PORT",
        &["INBOUND_CAPTURE_PORT"],
        "Port of the proxy to which inbound TCP is redirected [default: 15006]",
    ),
    number(
        "inbound-tunnel-port",
        Some('e'),
        "PORT",
        &["INBOUND_TUNNEL_PORT"],
        "Port of the mesh's tunnel, whose inbound TCP is left alone [default: 15008]",
    ),
    text(
        "proxy-uid",
        Some('u'),
        "UIDS",
        &["PROXY_UID"],
        "Users whose traffic is left alone, the proxy's [default: that of the user named by ENVOY_USER \
         (istio-proxy), else 1337]",
    ),
    text(
        "proxy-gid",
        Some('g'),
        "GIDS",
        &["PROXY_GID"],
        "Groups whose traffic is left alone, the proxy's [default: the value of --proxy-uid]",
    ),
    text(
        "istio-inbound-interception-mode",
        Some('m'),
        "MODE",
        &["ISTIO_INBOUND_INTERCEPTION_MODE"],
        "How inbound TCP gets to the proxy: REDIRECT or TPROXY [default: REDIRECT]",
    ),
    text(
        "istio-inbound-ports",
        Some('b'),
        "PORTS",
        &["ISTIO_INBOUND_PORTS"],
        "Inbound ports that are intercepted, or * for all [default: none]",
    ),
    text(
        "istio-local-exclude-ports",
        Some('d'),
        "PORTS",
        &["ISTIO_LOCAL_EXCLUDE_PORTS"],
        "Inbound ports that are left alone where all others are intercepted",
    ),
    text(
        "istio-exclude-interfaces",
        Some('c'),
        "INTERFACES",
        &["ISTIO_EXCLUDE_INTERFACES"],
        "Interfaces whose traffic is left alone",
    ),
    text(
        "istio-service-cidr",
        Some('i'),
        "CIDRS",
        &["ISTIO_SERVICE_CIDR"],
        "Networks to which outbound traffic is intercepted, or * for all [default: none]",
    ),
    text(
        "istio-service-exclude-cidr",
        Some('x'),
        "CIDRS",
        &["ISTIO_SERVICE_EXCLUDE_CIDR"],
        "Networks to which outbound traffic is left alone",
    ),
    text(
        "istio-outbound-ports",
        Some('q'),
        "PORTS",
        &["ISTIO_OUTBOUND_PORTS"],
        "Outbound ports that are intercepted wherever they lead to",
    ),
    text(
        "istio-local-outbound-ports-exclude",
        Some('o'),
        "PORTS",
        &["ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"],
        "Outbound ports that are left alone, TCP and UDP",
    ),
    text(
        "kube-virt-interfaces",
        Some('k'),
        "INTERFACES",
        &["KUBE_VIRT_INTERFACES"],
        "Interfaces of virtual machines: what comes in there is treated as outbound",
    ),
    number(
        "istio-inbound-tproxy-mark",
        Some('t'),
        "MARK",
        &["ISTIO_INBOUND_TPROXY_MARK"],
        "Mark on inbound packets with TPROXY [default: 1337]",
    ),
    number(
        "istio-inbound-tproxy-route-table",
        Some('r'),
        "TABLE",
        &["ISTIO_INBOUND_TPROXY_ROUTE_TABLE"],
        "Routing table for marked packets with TPROXY [default: 133]",
    ),
    switch("dry-run", Some('n'), &["DRY_RUN"], "Print the ruleset and touch nothing; needs no privilege"),
    number(
        "iptables-probe-port",
        None,
        "PORT",
        &["IPTABLES_PROBE_PORT"],
        "Port that the validation connects to [default: 15002]",
    ),
    number(
        "probe-timeout",
        None,
        "DURATION",
        &["PROBE_TIMEOUT"],
        "How long the validation tries [default: 5s]",
    ),
    switch(
        "skip-rule-apply",
        None,
        &["SKIP_RULE_APPLY"],
        "Change nothing; with --run-validation only validate",
    ),
    switch(
        "run-validation",
        None,
        &["RUN_VALIDATION"],
        "Prove by a connection that traffic is intercepted; exit with 126 if it is not",
    ),
    switch(
        "redirect-dns",
        None,
        &["REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"],
        "Redirect DNS to the agent at port 15053: what goes to the servers in /etc/resolv.conf",
    ),
    switch("capture-all-dns", None, &["CAPTURE_ALL_DNS"], "With --redirect-dns: all that goes to port 53"),
    switch(
        "drop-invalid",
        None,
        &["DROP_INVALID", "INVALID_DROP"],
        "Drop TCP packets that connection tracking finds invalid",
    ),
    switch(
        "dual-stack",
        None,
        &["DUAL_STACK", "ISTIO_DUAL_STACK"],
        "Rules for IPv6 as soon as any address is IPv6, not only if the first one is",
    ),
    text(
        "network-namespace",
        None,
        "PATH",
        &["NETWORK_NAMESPACE"],
        "Work in the network namespace that this file stands for",
    ),
    switch("cleanup-only", None, &["CLEANUP_ONLY"], "Remove all rules, routes and addresses of the sidecar"),
    switch(
        "native-nftables",
        None,
        &["NATIVE_NFTABLES"],
        "Exactly the rules of Istio's native backend: without IPv6, they still catch some of it",
    ),
    switch("cni-mode", None, &["CNI_MODE"], "Accepted; means nothing here"),
    switch("reconcile", None, &["RECONCILE"], "Accepted; every run is a reconciliation here"),
    switch("force-apply", None, &["FORCE_APPLY"], "Accepted; every run is a reconciliation here"),
    text(
        "force-iptables-binary",
        None,
        "VARIANT",
        &["FORCE_IPTABLES_BINARY"],
        "Accepted (legacy, nft); no iptables is used here",
    ),
    switch(
        "log_as_json",
        None,
        &[],
        "Log lines in JSON; other --log_* flags of Istio are accepted and ignored",
    ),
    switch("check", None, &[], "Let the kernel validate the ruleset, and apply nothing"),
    switch("keep-counters", None, &[], "Leave rules that do not change in place, with their counters"),
    text("output", None, "FORMAT", &[], "Format of the result: text or json [default: text]"),
    switch(
        "allow-host-network",
        None,
        &[],
        "Work in the machine's own network namespace even if other namespaces hang on it",
    ),
];

/// What the environment alone can say, for the end of the help.
pub(super) const ENVIRONMENT_ONLY: &str = "\
Environment only:
  ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR   loopback network of IPv4, /8 to /32 [default: 127.0.0.1/32]
  ISTIO_OUTBOUND_OWNER_GROUPS         groups whose outbound traffic is intercepted, or * for all [default: *]
  ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE groups whose outbound traffic is left alone where all others are intercepted
  ENVOY_USER                          the proxy's user, for --proxy-uid [default: istio-proxy]

Lists are comma separated. A flag wins over its environment variable.
Exit codes: 0 done; 1 failed, and nothing was changed; 2 wrong usage; 126 traffic is not intercepted.";
