//! The flags and variables of Istio's command, and a few of our own.

use crate::cli::settings::Setting;
use crate::cli::{lockdown, profile};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::number(
        "envoy-port",
        Some('p'),
        "PORT",
        &["ENVOY_PORT"],
        "Port of the proxy to which outbound TCP is redirected [default: 15001]",
    ),
    Setting::number(
        "inbound-capture-port",
        Some('z'),
        "PORT",
        &["INBOUND_CAPTURE_PORT"],
        "Port of the proxy to which inbound TCP is redirected [default: 15006]",
    ),
    Setting::number(
        "inbound-tunnel-port",
        Some('e'),
        "PORT",
        &["INBOUND_TUNNEL_PORT"],
        "Port of the mesh's tunnel, whose inbound TCP is left alone [default: 15008]",
    ),
    Setting::text(
        "proxy-uid",
        Some('u'),
        "UIDS",
        &["PROXY_UID"],
        "Users whose traffic is left alone, the proxy's [default: that of the user named by ENVOY_USER \
         (istio-proxy), else 1337]",
    ),
    Setting::text(
        "proxy-gid",
        Some('g'),
        "GIDS",
        &["PROXY_GID"],
        "Groups whose traffic is left alone, the proxy's [default: the value of --proxy-uid]",
    ),
    Setting::text(
        "istio-inbound-interception-mode",
        Some('m'),
        "MODE",
        &["ISTIO_INBOUND_INTERCEPTION_MODE"],
        "How inbound TCP gets to the proxy: REDIRECT or TPROXY [default: REDIRECT]",
    ),
    Setting::text(
        "istio-inbound-ports",
        Some('b'),
        "PORTS",
        &["ISTIO_INBOUND_PORTS"],
        "Inbound ports that are intercepted, or * for all [default: none]",
    ),
    Setting::text(
        "istio-local-exclude-ports",
        Some('d'),
        "PORTS",
        &["ISTIO_LOCAL_EXCLUDE_PORTS"],
        "Inbound ports that are left alone where all others are intercepted",
    ),
    Setting::text(
        "istio-exclude-interfaces",
        Some('c'),
        "INTERFACES",
        &["ISTIO_EXCLUDE_INTERFACES"],
        "Interfaces whose traffic is left alone",
    ),
    Setting::text(
        "istio-service-cidr",
        Some('i'),
        "CIDRS",
        &["ISTIO_SERVICE_CIDR"],
        "Networks to which outbound traffic is intercepted, or * for all [default: none]",
    ),
    Setting::text(
        "istio-service-exclude-cidr",
        Some('x'),
        "CIDRS",
        &["ISTIO_SERVICE_EXCLUDE_CIDR"],
        "Networks to which outbound traffic is left alone",
    ),
    Setting::text(
        "istio-outbound-ports",
        Some('q'),
        "PORTS",
        &["ISTIO_OUTBOUND_PORTS"],
        "Outbound ports that are intercepted wherever they lead to",
    ),
    Setting::text(
        "istio-local-outbound-ports-exclude",
        Some('o'),
        "PORTS",
        &["ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"],
        "Outbound ports that are left alone, TCP and UDP",
    ),
    Setting::text(
        "kube-virt-interfaces",
        Some('k'),
        "INTERFACES",
        &["KUBE_VIRT_INTERFACES"],
        "Interfaces of virtual machines: what comes in there is treated as outbound",
    ),
    Setting::number(
        "istio-inbound-tproxy-mark",
        Some('t'),
        "MARK",
        &["ISTIO_INBOUND_TPROXY_MARK"],
        "Mark on inbound packets with TPROXY [default: 1337]",
    ),
    Setting::number(
        "istio-inbound-tproxy-route-table",
        Some('r'),
        "TABLE",
        &["ISTIO_INBOUND_TPROXY_ROUTE_TABLE"],
        "Routing table for marked packets with TPROXY [default: 133]",
    ),
    Setting::switch(
        "dry-run",
        Some('n'),
        &["DRY_RUN"],
        "Print the ruleset and touch nothing; needs no privilege",
    ),
    Setting::number(
        "iptables-probe-port",
        None,
        "PORT",
        &["IPTABLES_PROBE_PORT"],
        "Port that the validation connects to [default: 15002]",
    ),
    Setting::number(
        "probe-timeout",
        None,
        "DURATION",
        &["PROBE_TIMEOUT"],
        "How long the validation tries [default: 5s]",
    ),
    Setting::switch(
        "skip-rule-apply",
        None,
        &["SKIP_RULE_APPLY"],
        "Change nothing; with --run-validation only validate",
    ),
    Setting::switch(
        "run-validation",
        None,
        &["RUN_VALIDATION"],
        "Prove by a connection that traffic is intercepted; exit with 126 if it is not",
    ),
    Setting::switch(
        "redirect-dns",
        None,
        &["REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"],
        "Redirect DNS to the agent at port 15053: what goes to the servers in /etc/resolv.conf",
    ),
    Setting::switch(
        "capture-all-dns",
        None,
        &["CAPTURE_ALL_DNS"],
        "With --redirect-dns: all that goes to port 53",
    ),
    Setting::switch(
        "drop-invalid",
        None,
        &["DROP_INVALID", "INVALID_DROP"],
        "Drop TCP packets that connection tracking finds invalid",
    ),
    Setting::switch(
        "dual-stack",
        None,
        &["DUAL_STACK", "ISTIO_DUAL_STACK"],
        "Rules for IPv6 as soon as any address is IPv6, not only if the first one is",
    ),
    Setting::text(
        "network-namespace",
        None,
        "PATH",
        &["NETWORK_NAMESPACE"],
        "Work in the network namespace that this file stands for",
    ),
    Setting::switch(
        "cleanup-only",
        None,
        &["CLEANUP_ONLY"],
        "Remove all rules, routes and addresses of the sidecar",
    ),
    Setting::switch(
        "native-nftables",
        None,
        &["NATIVE_NFTABLES"],
        "Exactly the rules of Istio's native backend: without IPv6, they still catch some of it",
    ),
    Setting::switch("cni-mode", None, &["CNI_MODE"], "Accepted; means nothing here"),
    Setting::switch("reconcile", None, &["RECONCILE"], "Accepted; every run is a reconciliation here"),
    Setting::switch("force-apply", None, &["FORCE_APPLY"], "Accepted; every run is a reconciliation here"),
    Setting::text(
        "force-iptables-binary",
        None,
        "VARIANT",
        &["FORCE_IPTABLES_BINARY"],
        "Accepted (legacy, nft); no iptables is used here",
    ),
    Setting::switch(
        "log_as_json",
        None,
        &[],
        "Log lines in JSON; other --log_* flags of Istio are accepted and ignored",
    ),
    profile::CHECK,
    profile::KEEP_COUNTERS,
    profile::OPTIMIZE,
    profile::ELEMENT_COUNTERS,
    profile::OUTPUT,
    profile::ALLOW_HOST_NETWORK,
    lockdown::SETTING,
];

/// What the environment alone can say, for the end of the help.
pub(super) const ENVIRONMENT_ONLY: &str = "\
Environment only:
  ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR   loopback network of IPv4, /8 to /32 [default: 127.0.0.1/32]
  ISTIO_OUTBOUND_OWNER_GROUPS         groups whose outbound traffic is intercepted, or * for all [default: *]
  ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE groups whose outbound traffic is left alone where all others are intercepted
  ENVOY_USER                          the proxy's user, for --proxy-uid [default: istio-proxy]

Lists are comma separated. A flag wins over its environment variable.";

/// For the end of the help of what applies.
pub(super) const NOTES: &str = "\
As Istio's injector calls it; without -b nothing that comes in is intercepted, without -i and -q nothing that goes out:
  meshwire istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x '' -b '*' -d 15090,15021,15020

Needs CAP_NET_ADMIN in the pod's network namespace, where it runs; see --dry-run for a look without.
Exit codes: 0 done; 1 failed, and nothing was changed; 2 wrong usage; 126 traffic is not intercepted.";
