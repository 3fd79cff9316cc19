//! Examples for the pages of commands whose help has none.

/// What it does, and the command line.
pub(crate) type Example = (&'static str, &'static str);

const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "meshwire-list",
        &[
            ("The tables of meshwire, Istio and Linkerd in this network namespace", "meshwire list"),
            (
                "The rules that saw packets in a pod, by a process in it",
                "meshwire list ruleset --netns 4711 --counters",
            ),
        ],
    ),
    ("meshwire-list-ruleset", &[("Every table, as JSON", "meshwire list ruleset --output json")]),
    ("meshwire-list-tables", &[("The names of all tables", "meshwire list tables")]),
    (
        "meshwire-list-table",
        &[("One table, with handles", "meshwire list table inet istio-proxy-nat --handles")],
    ),
    ("meshwire-list-chain", &[("One chain", "meshwire list chain inet istio-proxy-nat istio-output")]),
    ("meshwire-list-set", &[("One set", "meshwire list set inet firewall allowed")]),
    (
        "meshwire-graph",
        &[
            ("A picture for a browser", "meshwire graph"),
            ("Every table, for Graphviz", "meshwire graph --all --output dot"),
        ],
    ),
    ("meshwire-reset", &[("All counters of a pod", "meshwire reset counters --netns 4711")]),
    ("meshwire-reset-counters", &[("All counters of a pod", "meshwire reset counters --netns 4711")]),
    (
        "meshwire-explain",
        &[
            ("Where a connection of user 1000 goes", "meshwire explain --uid 1000 --to 10.0.0.5:443"),
            ("Where a connection from outside goes", "meshwire explain --in --to 10.0.0.2:8080"),
        ],
    ),
    ("meshwire-trace", &[("The next connection to port 443", "meshwire trace --dport 443 --count 1")]),
    (
        "meshwire-doctor",
        &[
            ("What can run here", "meshwire doctor"),
            ("Whether Linkerd's rules can run in a pod", "meshwire doctor --netns 4711 --profile linkerd"),
        ],
    ),
    ("meshwire-bench", &[("More runs, and a picture", "meshwire bench --runs 21 --plot times.svg")]),
    ("meshwire-demo", &[("Without root, in namespaces of its own", "meshwire demo")]),
    (
        "meshwire-validate-linkerd",
        &[(
            "As Linkerd's injector calls it",
            "meshwire validate linkerd --timeout 10s --connect-addr 1.1.1.1:20001",
        )],
    ),
    ("meshwire-node-status", &[("Each pod of the mesh on this node", "meshwire node status")]),
    (
        "meshwire-node-release",
        &[(
            "Before the image is changed back to that of an agent in nftables mode",
            "meshwire node release --backend nft",
        )],
    ),
    (
        "meshwire-nft",
        &[
            ("Check a file, then load it", "meshwire nft -c -f /etc/nftables.conf"),
            ("Check a file, then load it", "meshwire nft -f /etc/nftables.conf"),
            ("One command", "meshwire nft list ruleset"),
        ],
    ),
    (
        "meshwire-ambient-pod-apply",
        &[(
            "Two pods, one by its file and one by a process in it",
            "meshwire ambient pod apply --netns /run/netns/a --netns 4711 --ipv6 --dns",
        )],
    ),
    (
        "meshwire-ambient-pod-verify",
        &[("With the flags of apply", "meshwire ambient pod verify --netns 4711 --ipv6 --dns")],
    ),
    ("meshwire-ambient-pod-remove", &[("One pod", "meshwire ambient pod remove --netns 4711")]),
    (
        "meshwire-ambient-host-apply",
        &[(
            "In the node's namespace; the kubelet runs as root",
            "meshwire ambient host apply --ipv6 --kubelet-uid 0",
        )],
    ),
    (
        "meshwire-ambient-host-verify",
        &[("With the flags of apply", "meshwire ambient host verify --ipv6 --kubelet-uid 0")],
    ),
    ("meshwire-ambient-host-remove", &[("All but the probe set", "meshwire ambient host remove")]),
    ("meshwire-ambient-host-destroy", &[("With the probe set", "meshwire ambient host destroy")]),
    (
        "meshwire-ambient-probes-add",
        &[(
            "A pod's addresses",
            "meshwire ambient probes add 10.0.0.7 fd00::7 --pod-uid 1b4e28ba-2fa1-11d2-883f-0016d3cca427",
        )],
    ),
    (
        "meshwire-ambient-probes-remove",
        &[(
            "An address, unless another pod has it",
            "meshwire ambient probes remove 10.0.0.7 --pod-uid 1b4e28ba-2fa1-11d2-883f-0016d3cca427",
        )],
    ),
    (
        "meshwire-ambient-probes-sync",
        &[(
            "Lines of an address and a pod's UID: these and no others",
            "meshwire ambient probes sync < addresses",
        )],
    ),
    ("meshwire-ambient-probes-flush", &[("All of them", "meshwire ambient probes flush")]),
    ("meshwire-ambient-probes-destroy", &[("The sets themselves", "meshwire ambient probes destroy")]),
    ("meshwire-ambient-probes-list", &[("All of them", "meshwire ambient probes list")]),
    (
        "meshwire-verify-istio-iptables",
        &[("With the flags of the run", "meshwire verify istio-iptables -u 1337 -i '*' -b '*'")],
    ),
    (
        "meshwire-verify-proxy-init",
        &[("With the flags of the run", "meshwire verify proxy-init -p 4143 -o 4140 -u 2102")],
    ),
    (
        "meshwire-verify-ambient-pod",
        &[("With the flags of apply", "meshwire verify ambient pod --dns --netns 4711")],
    ),
    (
        "meshwire-verify-ambient-host",
        &[("With the flags of apply", "meshwire verify ambient host --kubelet-uid 0")],
    ),
    (
        "meshwire-watch-istio-iptables",
        &[("With the flags of the run", "meshwire watch istio-iptables -u 1337 -i '*' -b '*'")],
    ),
    (
        "meshwire-watch-proxy-init",
        &[("With the flags of the run", "meshwire watch proxy-init -p 4143 -o 4140 -u 2102")],
    ),
    (
        "meshwire-watch-ambient-pod",
        &[("With the flags of apply", "meshwire watch ambient pod --dns --netns 4711")],
    ),
    (
        "meshwire-watch-ambient-host",
        &[("With the flags of apply", "meshwire watch ambient host --kubelet-uid 0")],
    ),
    (
        "meshwire-migrate-istio-iptables",
        &[
            (
                "First the steps, then the migration",
                "meshwire migrate --dry-run istio-iptables -u 1337 -i '*' -b '*'",
            ),
            ("First the steps, then the migration", "meshwire migrate istio-iptables -u 1337 -i '*' -b '*'"),
        ],
    ),
    (
        "meshwire-migrate-proxy-init",
        &[
            (
                "First the steps, then the migration",
                "meshwire migrate --dry-run proxy-init -p 4143 -o 4140 -u 2102",
            ),
            ("First the steps, then the migration", "meshwire migrate proxy-init -p 4143 -o 4140 -u 2102"),
        ],
    ),
    (
        "meshwire-migrate-ambient-pod",
        &[("With the flags of apply", "meshwire migrate ambient pod --dns --netns 4711")],
    ),
    (
        "meshwire-migrate-ambient-host",
        &[("With the flags of apply", "meshwire migrate ambient host --kubelet-uid 0")],
    ),
];

/// Those of a page.
pub(crate) fn of(page: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(name, _)| *name == page).map_or(&[], |(_, examples)| examples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_command_line_of_its_page() {
        for (page, examples) in EXAMPLES {
            for (_, line) in *examples {
                let (words, _) = line.split_once(" < ").unwrap_or((line, ""));
                let words = words.split(' ').map(|word| word.trim_matches('\''));
                let matches = meshwire::cli::command().try_get_matches_from(words);
                let matches = matches.unwrap_or_else(|error| panic!("{page}: {line}: {error}"));
                let (mut name, mut rest) = ("meshwire".to_owned(), &matches);
                while let Some((command, matches)) = rest.subcommand() {
                    (name, rest) = (format!("{name}-{command}"), matches);
                }
                assert!(name.starts_with(page), "{line} is on the page {page}");
            }
        }
    }
}
