//! Linkerd's own doing: the flags of its proxy-init, and the commands that it runs.

use std::ops::RangeInclusive;

use meshwire::mesh::linkerd::ProxyInit;

/// What `linkerd2-proxy-init` is called with for these settings.
pub(crate) fn flags(settings: &ProxyInit) -> Vec<String> {
    let list = |name: &str, items: Vec<String>| format!("--{name}={}", items.join(","));
    let ports = |ranges: &[RangeInclusive<u16>]| -> Vec<_> {
        ranges.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect()
    };
    let mut flags = vec![
        format!("--incoming-proxy-port={}", settings.incoming_proxy_port),
        format!("--outgoing-proxy-port={}", settings.outgoing_proxy_port),
        format!("--proxy-uid={}", settings.proxy_uid.map_or(-1, i64::from)),
        format!("--proxy-gid={}", settings.proxy_gid.map_or(-1, i64::from)),
        list("inbound-ports-to-ignore", ports(&settings.inbound_ports_to_ignore)),
        list("outbound-ports-to-ignore", ports(&settings.outbound_ports_to_ignore)),
        list("subnets-to-ignore", settings.subnets_to_ignore.iter().map(ToString::to_string).collect()),
        format!("--ipv6={}", settings.ipv6),
    ];
    flags.extend(settings.ports_to_redirect.iter().map(|port| format!("--ports-to-redirect={port}")));
    flags
}

/// The commands that `linkerd2-proxy-init` runs in a fresh pod, in their order. A subnet is given to the command of its
/// family alone: Linkerd gives each to both, and fails.
pub(crate) fn commands(settings: &ProxyInit) -> Vec<Vec<String>> {
    let v6 = settings.ipv6.then(|| of_family(settings, "ip6tables-nft", false));
    of_family(settings, "iptables-nft", true).into_iter().chain(v6.into_iter().flatten()).collect()
}

fn of_family(settings: &ProxyInit, program: &str, v4: bool) -> Vec<Vec<String>> {
    let save = vec![format!("{program}-save"), "-t".to_owned(), "nat".to_owned()];
    let command = |words: &str, comment: &str| -> Vec<String> {
        let comment = if comment.is_empty() {
            String::new()
        } else {
            format!("-m comment --comment proxy-init/{comment}")
        };
        format!("{program} -t nat {words} {comment}").split_whitespace().map(str::to_owned).collect()
    };
    let (inbound, outbound) = ("PROXY_INIT_REDIRECT", "PROXY_INIT_OUTPUT");
    let ignored = |chain: &str, ranges: &[RangeInclusive<u16>]| -> Vec<_> {
        multiports(ranges)
            .into_iter()
            .map(|ports| {
                let words = format!("-A {chain} -p tcp --match multiport --dports {ports} -j RETURN");
                command(&words, &format!("ignore-port-{ports}"))
            })
            .collect()
    };
    let redirect = |chain: &str, to: u16, matching: &str, comment: &str| {
        command(&format!("-A {chain} -p tcp {matching} -j REDIRECT --to-port {to}"), comment)
    };

    let mut commands = vec![save.clone(), command(&format!("-N {inbound}"), "")];
    commands.extend(ignored(inbound, &settings.inbound_ports_to_ignore));
    for subnet in settings.subnets_to_ignore.iter().filter(|subnet| subnet.address().is_ipv4() == v4) {
        let words = format!("-A {inbound} -p all -j RETURN -s {subnet}");
        commands.push(command(&words, &format!("ignore-subnet-{subnet}")));
    }
    if settings.ports_to_redirect.is_empty() {
        commands.push(redirect(
            inbound,
            settings.incoming_proxy_port,
            "",
            "redirect-all-incoming-to-proxy-port",
        ));
    }
    for port in &settings.ports_to_redirect {
        let matching = format!("--destination-port {port}");
        let comment = format!("redirect-port-{port}-to-proxy-port");
        commands.push(redirect(inbound, settings.incoming_proxy_port, &matching, &comment));
    }
    commands.push(command(&format!("-A PREROUTING -j {inbound}"), "install-proxy-init-prerouting"));

    commands.push(command(&format!("-N {outbound}"), ""));
    for (owner, id, comment) in [
        ("uid", settings.proxy_uid, "ignore-proxy-user-id"),
        ("gid", settings.proxy_gid, "ignore-proxy-group-id"),
    ] {
        let words = id.map(|id| format!("-A {outbound} -m owner --{owner}-owner {id} -j RETURN"));
        commands.extend(words.map(|words| command(&words, comment)));
    }
    commands.push(command(&format!("-A {outbound} -o lo -j RETURN"), "ignore-loopback"));
    commands.extend(ignored(outbound, &settings.outbound_ports_to_ignore));
    commands.push(redirect(
        outbound,
        settings.outgoing_proxy_port,
        "",
        "redirect-all-outgoing-to-proxy-port",
    ));
    commands.push(command(&format!("-A OUTPUT -j {outbound}"), "install-proxy-init-output"));
    commands.push(save);
    commands
}

/// The lists for the match multiport, which holds 15 ports: a range counts as two.
fn multiports(ranges: &[RangeInclusive<u16>]) -> Vec<String> {
    let mut lists: Vec<(usize, Vec<String>)> = Vec::new();
    for range in ranges {
        let (size, text) = match range.start() == range.end() {
            true => (1, range.start().to_string()),
            false => (2, format!("{}:{}", range.start(), range.end())),
        };
        match lists.last_mut() {
            Some((count, ports)) if *count + size <= 15 => {
                *count += size;
                ports.push(text);
            }
            _ => lists.push((size, vec![text])),
        }
    }
    lists.into_iter().map(|(_, ports)| ports.join(",")).collect()
}
