//! `list hooks`, where the kernel has it.

use crate::harness::{Nft, can_run, inside, say, text};

/// What is at hooks of several families, and at a device; nothing of equal priority, which nft 1.0.6 shows in another order.
const TABLES: &str = "table inet t {
\tchain c1 { type filter hook input priority 0; }
\tchain c2 { type filter hook input priority 10; }
\tchain c3 { type filter hook input priority -300; ct state new counter; }
\tchain c4 { type nat hook postrouting priority 100; }
\tchain c5 { type filter hook ingress device \"lo\" priority -5; }
}
table netdev n { chain c { type filter hook ingress device \"lo\" priority 3; }; }
table bridge b { chain c { type filter hook prerouting priority -300; }; }
";

const ARP: &str = "table arp a { chain c { type filter hook output priority 0; }; }";

/// What both say, which is the same.
#[track_caller]
fn assert_same(arguments: &[&str]) -> String {
    let command = [&["list", "hooks"], arguments].concat();
    let (theirs, ours) = (Nft::Theirs.run(&command), Nft::Ours.run(&command));
    assert_eq!(text(&ours.stderr), "", "{arguments:?}");
    assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{arguments:?}");
    text(&ours.stdout)
}

/// Whether this kernel lists hooks. nft shows nothing where it does not, as if nothing were there; here, it is an error.
fn kernel_lists_hooks() -> bool {
    if !Nft::Theirs.run(&["list", "hooks"]).stdout.is_empty() {
        return true;
    }
    say("this kernel does not list hooks");
    for family in [&["list", "hooks"][..], &["list", "hooks", "inet"]] {
        let output = Nft::Ours.run(family);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        let error = text(&output.stderr);
        assert!(error.contains("Error: this kernel does not list hooks"), "{error}");
        assert!(error.contains("CONFIG_NETFILTER_NETLINK_HOOK"), "{error}");
    }
    false
}

#[test]
fn functions_at_hooks_are_those_that_nft_lists() {
    if !can_run() {
        return;
    }
    inside(|| {
        assert!(Nft::Theirs.load(TABLES).status.success());
        if !kernel_lists_hooks() {
            return;
        }
        let all = assert_same(&[]);
        for part in ["family ip {", "family ip6 {", "family bridge {", "\t\t-0000000300 chain inet t c3"] {
            assert!(all.contains(part), "{all}");
        }
        for family in ["ip", "ip6", "inet", "bridge"] {
            assert!(!assert_same(&[family]).contains("ingress"), "{family}");
            let with_device = assert_same(&[family, "device", "lo"]);
            assert!(
                with_device.contains("\thook ingress {\n\t\t-0000000005 chain inet t c5"),
                "{with_device}"
            );
        }
        let netdev = assert_same(&["netdev", "device", "lo"]);
        assert!(netdev.contains("\t\t+0000000003 chain netdev n c"), "{netdev}");

        assert!(Nft::Theirs.load(ARP).status.success());
        assert_same(&["arp"]);
        assert_same(&["arp", "device", "lo"]);
        // nft 1.0.6 leaves ARP out of the list of all families.
        let all = text(&Nft::Ours.run(&["list", "hooks"]).stdout);
        assert!(all.contains("family arp {\n\thook output {\n\t\t 0000000000 chain arp a c"), "{all}");
    });
}

#[test]
fn functions_of_equal_priority_are_in_the_order_of_the_packet() {
    if !can_run() {
        return;
    }
    inside(|| {
        let chains: String = ["one", "two", "three", "four"]
            .iter()
            .map(|name| format!("\tchain {name} {{ type filter hook forward priority 0; }}\n"))
            .collect();
        assert!(Nft::Theirs.load(&format!("table ip t {{\n{chains}}}\n")).status.success());
        if !kernel_lists_hooks() {
            return;
        }
        let listed = text(&Nft::Ours.run(&["list", "hooks", "ip"]).stdout);
        let order: Vec<_> = listed.lines().filter_map(|line| line.split(" chain ip t ").nth(1)).collect();
        let order: Vec<_> = order.iter().map(|chain| chain.split(' ').next().unwrap()).collect();
        // The kernel puts a function before those that have its priority (`nf_hook_entries_grow` in net/netfilter/core.c).
        assert_eq!(order, ["four", "three", "two", "one"], "{listed}");
    });
}

#[test]
fn what_cannot_be_listed_says_why() {
    if !can_run() {
        return;
    }
    inside(|| {
        let error = |arguments: &[&str]| {
            let output = Nft::Ours.run(&[&["list", "hooks"], arguments].concat());
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
            text(&output.stderr)
        };
        assert!(error(&["netdev"]).contains("add `device NAME`"));
        let json = Nft::Ours.run(&["-j", "list", "hooks"]);
        assert!(text(&json.stderr).contains("hooks have no JSON"));
        if kernel_lists_hooks() {
            assert!(error(&["netdev", "device", "nothing"]).contains("No such device"));
        }
    });
}
