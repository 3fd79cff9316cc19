//! What programs send that are built on knftables, kube-proxy among them: the same calls in the same form, one after the
//! other to both programs, with the kernel's state compared after each.

use crate::harness::{Nft, can_run, inside, state, text};

/// The output of both, and the state after, is the same.
fn both(arguments: &[&str], input: Option<&str>, outputs: &mut [Vec<String>; 2], nft: Nft) {
    let output = match input {
        Some(input) => nft.feed(arguments, input),
        None => nft.run(arguments),
    };
    let index = usize::from(nft == Nft::Ours);
    let shown = match arguments.first() {
        Some(&"--json") => objects(&output.stdout),
        _ => text(&output.stdout),
    };
    let failed = !output.status.success();
    // What, if not where: nft names the element.
    let said = text(&output.stderr);
    let said = said.split_once("Error: ").and_then(|(_, said)| said.lines().next()).unwrap_or_default();
    outputs[index].push(format!("{arguments:?} {input:?}\n{failed} {said}\n{shown}\n{}", state()));
}

/// The objects of a JSON document without `metainfo`, where what ours is called differs.
fn objects(document: &[u8]) -> String {
    match serde_json::from_slice::<serde_json::Value>(document) {
        Ok(json) => format!("{:#?}", &json["nftables"].as_array().unwrap()[1..]),
        Err(_) => text(document),
    }
}

const CHECK: &[&str] = &["--check", "-f", "-"];
const LOAD: &[&str] = &["-f", "-"];

/// Every kind of call: how it is checked, transactions, lists. `None` for calls without an input.
const SESSION: &[(&[&str], Option<&str>)] = &[
    (CHECK, Some("add table ip kube-proxy { comment \"rules for kube-proxy\" ; }\n")),
    (
        LOAD,
        Some("add table ip kube-proxy { comment \"rules for kube-proxy\" ; }\nflush table ip kube-proxy\n"),
    ),
    (LOAD, Some("create table ip other { flags dormant ; }\n")),
    (LOAD, Some("create table ip other\n")),
    (LOAD, Some("delete table ip other\n")),
    (
        LOAD,
        Some(
            "add chain ip kube-proxy filter-input { type filter hook input priority -110 ; comment \"in\" ; }\n",
        ),
    ),
    (
        LOAD,
        Some(
            "add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority dstnat ; policy accept ; }\nadd chain ip kube-proxy services\nadd chain ip kube-proxy firewall-check { comment \"a \\\"comment\\\"\" ; }\n",
        ),
    ),
    (LOAD, Some("create chain ip kube-proxy services\n")),
    (
        LOAD,
        Some(
            "add rule ip kube-proxy services ip saddr 10.0.0.1 drop comment \"one\"\nadd rule ip kube-proxy services ip daddr 10.0.0.0/8 tcp dport { 80, 443 } accept\ninsert rule ip kube-proxy services counter\n",
        ),
    ),
    (LOAD, Some("insert rule ip kube-proxy services index 1 udp dport 53 return\n")),
    (
        LOAD,
        Some("add rule ip kube-proxy services index 0 ip protocol icmp accept comment \"after the first\"\n"),
    ),
    (&["--json", "list", "chain", "ip", "kube-proxy", "services"], None),
    (&["--json", "--terse", "list", "table", "ip", "kube-proxy"], None),
    (LOAD, Some("delete rule ip kube-proxy services handle 5\n")),
    (
        LOAD,
        Some(
            "replace rule ip kube-proxy services handle 6 ip daddr 10.0.0.0/9 accept comment \"replaced\"\n",
        ),
    ),
    (LOAD, Some("delete rule ip kube-proxy services handle 999\n")),
    (
        LOAD,
        Some(
            "add set ip kube-proxy cluster-ips { type ipv4_addr ; comment \"Active ClusterIPs\" ; }\nadd set ip kube-proxy nodeport-ips { type ipv4_addr ; flags interval ; auto-merge ; }\nadd set ip kube-proxy affinity { type ipv4_addr ; flags dynamic,timeout ; timeout 10800s ; gc-interval 10s ; size 65535 ; policy memory ; }\nadd set ip kube-proxy by-type { typeof ip saddr . tcp dport ; }\n",
        ),
    ),
    (
        LOAD,
        Some(
            "add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; comment \"ClusterIP, ExternalIP and LoadBalancer IP traffic\" ; }\nadd map ip kube-proxy service-nodeports { type inet_proto . inet_service : verdict ; }\nadd map ip kube-proxy to { type inet_service : ipv4_addr . inet_service ; }\nadd map ip kube-proxy sources { typeof ip saddr : meta mark ; size 100 ; }\n",
        ),
    ),
    (
        LOAD,
        Some(
            "add element ip kube-proxy cluster-ips { 172.30.0.41 }\nadd element ip kube-proxy cluster-ips { 172.30.0.42 comment \"second\" }\nadd element ip kube-proxy nodeport-ips { 192.168.0.0/24 }\nadd element ip kube-proxy by-type { 1.1.1.1 . 80 }\n",
        ),
    ),
    (
        LOAD,
        Some(
            "add chain ip kube-proxy service-one\nadd element ip kube-proxy service-ips { 172.30.0.41 . tcp . 80 comment \"ns1/svc1:p80\" : goto service-one }\nadd element ip kube-proxy service-nodeports { tcp . 3001 : goto service-one }\nadd element ip kube-proxy to { 80 : 10.0.0.1 . 8080 }\nadd element ip kube-proxy sources { 10.0.0.7 : 0x4000 }\n",
        ),
    ),
    (LOAD, Some("create element ip kube-proxy cluster-ips { 172.30.0.41 }\n")),
    (&["--json", "list", "set", "ip", "kube-proxy", "cluster-ips"], None),
    (&["--json", "list", "map", "ip", "kube-proxy", "service-ips"], None),
    (
        LOAD,
        Some(
            "delete element ip kube-proxy cluster-ips { 172.30.0.42 }\ndelete element ip kube-proxy service-nodeports { tcp . 3001 }\n",
        ),
    ),
    (LOAD, Some("delete element ip kube-proxy cluster-ips { 172.30.0.99 }\n")),
    (
        LOAD,
        Some(
            "flush set ip kube-proxy cluster-ips\nflush map ip kube-proxy service-ips\nflush chain ip kube-proxy services\n",
        ),
    ),
    (
        LOAD,
        Some(
            "add counter ip kube-proxy ct_state_invalid_pkts { packets 5 bytes 10 ; }\nadd counter ip kube-proxy other { comment \"drops\" ; }\n",
        ),
    ),
    (&["--json", "list", "counters", "table", "ip", "kube-proxy"], None),
    (&["--json", "list", "counter", "ip", "kube-proxy", "other"], None),
    (
        LOAD,
        Some(
            "add rule ip kube-proxy filter-input ct state invalid counter name ct_state_invalid_pkts drop\n",
        ),
    ),
    (LOAD, Some("delete counter ip kube-proxy ct_state_invalid_pkts\n")),
    (LOAD, Some("delete counter ip kube-proxy other\n")),
    (LOAD, Some("delete set ip kube-proxy by-type\ndelete map ip kube-proxy to\n")),
    (LOAD, Some("delete chain ip kube-proxy service-one\n")),
    (LOAD, Some("delete chain ip kube-proxy firewall-check\n")),
    (&["--json", "--terse", "list", "table", "ip", "nosuch"], None),
    (&["--json", "list", "set", "ip", "kube-proxy", "nosuch"], None),
    // All or nothing.
    (LOAD, Some("add chain ip kube-proxy new\nadd rule ip kube-proxy nosuch drop\n")),
    (LOAD, Some("delete table ip kube-proxy\n")),
];

#[test]
fn every_call_leaves_the_same_state() {
    if !can_run() {
        return;
    }
    let mut outputs = [Vec::new(), Vec::new()];
    for nft in [Nft::Theirs, Nft::Ours] {
        inside(|| {
            for (arguments, input) in SESSION {
                both(arguments, *input, &mut outputs, nft);
            }
        });
    }
    let [theirs, ours] = outputs;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
}

/// A ruleset of the shape of kube-proxy's: services with endpoints, affinity, node ports, an external address with a
/// firewall, services without endpoints.
fn kube_proxy(services: u32) -> String {
    let mut out = String::from(
        "add table ip kube-proxy { comment \"rules for kube-proxy\" ; }
        add set ip kube-proxy cluster-ips { type ipv4_addr ; comment \"Active ClusterIPs\" ; }
        add set ip kube-proxy nodeport-ips { type ipv4_addr ; comment \"IPs that accept NodePort traffic\" ; }
        add map ip kube-proxy firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
        add map ip kube-proxy no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict ; }
        add map ip kube-proxy no-endpoint-nodeports { type inet_proto . inet_service : verdict ; }
        add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
        add map ip kube-proxy service-nodeports { type inet_proto . inet_service : verdict ; }
        add chain ip kube-proxy cluster-ips-check
        add chain ip kube-proxy filter-prerouting { type filter hook prerouting priority -110 ; }
        add chain ip kube-proxy filter-output { type filter hook output priority -110 ; }
        add chain ip kube-proxy filter-forward { type filter hook forward priority -110 ; }
        add chain ip kube-proxy filter-output-post-dnat { type filter hook output priority -90 ; }
        add chain ip kube-proxy firewall-check
        add chain ip kube-proxy mark-for-masquerade
        add chain ip kube-proxy masquerading
        add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }
        add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority 100 ; }
        add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }
        add chain ip kube-proxy nodeport-endpoints-check
        add chain ip kube-proxy reject-chain { comment \"helper for @no-endpoint-services / @no-endpoint-nodeports\" ; }
        add chain ip kube-proxy services
        add chain ip kube-proxy service-endpoints-check
        add rule ip kube-proxy cluster-ips-check ip daddr @cluster-ips reject comment \"Reject traffic to invalid ports of ClusterIPs\"
        add rule ip kube-proxy cluster-ips-check ip daddr { 172.30.0.0/16 } drop comment \"Drop traffic to unallocated ClusterIPs\"
        add rule ip kube-proxy filter-prerouting ct state new jump firewall-check
        add rule ip kube-proxy filter-forward ct state new jump service-endpoints-check
        add rule ip kube-proxy filter-forward ct state new jump cluster-ips-check
        add rule ip kube-proxy filter-output ct state new jump service-endpoints-check
        add rule ip kube-proxy filter-output-post-dnat ct state new jump cluster-ips-check
        add rule ip kube-proxy firewall-check ip daddr . meta l4proto . th dport vmap @firewall-ips
        add rule ip kube-proxy mark-for-masquerade mark set mark or 0x4000
        add rule ip kube-proxy masquerading mark and 0x4000 == 0 return
        add rule ip kube-proxy masquerading mark set mark xor 0x4000
        add rule ip kube-proxy masquerading masquerade fully-random
        add rule ip kube-proxy nat-output jump services
        add rule ip kube-proxy nat-postrouting jump masquerading
        add rule ip kube-proxy nat-prerouting jump services
        add rule ip kube-proxy nodeport-endpoints-check ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
        add rule ip kube-proxy reject-chain reject
        add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
        add rule ip kube-proxy services ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
        add rule ip kube-proxy service-endpoints-check ip daddr . meta l4proto . th dport vmap @no-endpoint-services
        add element ip kube-proxy nodeport-ips { 192.168.0.2 }
        add element ip kube-proxy no-endpoint-services { 192.168.99.33 . tcp . 80 comment \"ns4/svc4:p80\" : drop }
        add element ip kube-proxy no-endpoint-nodeports { tcp . 3002 comment \"ns4/svc4:p80\" : goto reject-chain }
        ",
    );
    for number in 0..services {
        let (high, low) = (number / 250, number % 250 + 1);
        let (address, service) =
            (format!("172.30.{high}.{low}"), format!("service-{number:08X}-ns/svc{number}/tcp/p80"));
        out += &format!("add chain ip kube-proxy {service}\nadd chain ip kube-proxy external-{service}\n");
        out += &format!("add element ip kube-proxy cluster-ips {{ {address} }}\n");
        out += &format!(
            "add element ip kube-proxy service-ips {{ {address} . tcp . 80 comment \"ns/svc{number}:p80\" : goto {service} }}\n"
        );
        out += &format!(
            "add element ip kube-proxy service-nodeports {{ tcp . {} : goto external-{service} }}\n",
            3001 + number
        );
        out += &format!("add rule ip kube-proxy external-{service} jump mark-for-masquerade\n");
        out += &format!(
            "add rule ip kube-proxy {service} ip daddr {address} tcp dport 80 ip saddr != 10.0.0.0/8 jump mark-for-masquerade\n"
        );
        let endpoints = 1 + number % 3;
        let mut targets = Vec::new();
        for endpoint in 0..endpoints {
            let to = format!("10.{endpoint}.{high}.{low}");
            let chain = format!("endpoint-{number:08X}-ns/svc{number}/tcp/p80__{to}/80");
            let affinity = format!("affinity-{number:08X}-{endpoint}");
            out += &format!("add chain ip kube-proxy {chain}\n");
            out += &format!(
                "add set ip kube-proxy {affinity} {{ type ipv4_addr ; flags dynamic,timeout ; timeout 10800s ; }}\n"
            );
            out += &format!("add rule ip kube-proxy {chain} ip saddr {to} jump mark-for-masquerade\n");
            out += &format!("add rule ip kube-proxy {chain} update @{affinity} {{ ip saddr }}\n");
            out += &format!("add rule ip kube-proxy {chain} meta l4proto tcp dnat to {to}:80\n");
            out += &format!("add rule ip kube-proxy {service} ip saddr @{affinity} goto {chain}\n");
            targets.push(format!("{endpoint} : goto {chain}"));
        }
        out += &format!(
            "add rule ip kube-proxy {service} numgen random mod {endpoints} vmap {{ {} }}\n",
            targets.join(" , ")
        );
        out += &format!("add rule ip kube-proxy external-{service} goto {service}\n");
    }
    out
}

#[test]
fn a_kube_proxys_ruleset_leaves_the_same_state() {
    if !can_run() {
        return;
    }
    let ruleset = kube_proxy(40);
    crate::harness::assert_same(&[&ruleset]);
    // A service more, and one less.
    crate::harness::assert_same(&[
        &ruleset,
        "add chain ip kube-proxy new\nadd element ip kube-proxy service-ips { 172.30.9.9 . tcp . 80 : goto new }\nadd rule ip kube-proxy new numgen random mod 1 vmap { 0 : drop }\n",
        "delete element ip kube-proxy service-ips { 172.30.9.9 . tcp . 80 }\nflush chain ip kube-proxy new\ndelete chain ip kube-proxy new\n",
    ]);
}
