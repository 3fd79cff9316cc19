//! Settings that between them use every kind of rule there is: what holds for each of them holds for all.

use std::env;

use crate::harness::{self, Intercept, Namespace, intercept};

/// One way to call the command.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// The arguments, separated by spaces
    pub(crate) args: &'static str,
    /// The value of ISTIO_OUTBOUND_OWNER_GROUPS
    groups: Option<&'static str>,
    /// The value of ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE
    groups_exclude: Option<&'static str>,
    /// The value of ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR
    loopback: Option<&'static str>,
}

const fn flags(args: &'static str) -> Setting {
    Setting { args, groups: None, groups_exclude: None, loopback: None }
}

const RESOLV_CONF: &str =
    "search example.com\nnameserver 10.96.0.10\nnameserver fd00:96::a\nnameserver 127.0.0.53\n";

/// Where IPv6 is on, `--dual-stack` says so: the [place] for them has both families.
///
/// [place]: Setting::namespace
pub(crate) const ALL: [Setting; 36] = [
    flags(""),
    flags("-b * -i *"),
    flags("-b * -i * --dual-stack"),
    flags("-b * -d 15090,15021,15020 -i 10.0.0.0/8,fd00:1::/48,172.16.0.0/12 -x 10.3.0.0/16,fd00:1:2::/64"),
    flags("-b * -d 15090 -i 10.0.0.0/8,fd00:1::/48,172.16.0.0/12 -x 10.3.0.0/16,fd00:1:2::/64 --dual-stack"),
    flags("-b 80,8080 -i * -x 192.0.2.1/32,198.51.100.128/25,0.0.0.0/1"),
    flags("-m TPROXY -b * -i *"),
    flags("-m TPROXY -b * -i * --dual-stack"),
    flags("-m TPROXY -b 80,81 -c eth1,cali* --dual-stack"),
    flags("-m TPROXY -b * -d 22,15020 -t 1400 -r 200 --dual-stack"),
    flags("-m TPROXY"),
    flags("-i * --redirect-dns --capture-all-dns"),
    flags("-b * -i * --redirect-dns --capture-all-dns --dual-stack"),
    flags("-i * --redirect-dns"),
    flags("-i 10.0.0.0/8 --redirect-dns --dual-stack -u 1337,0 -g 1337"),
    flags("-b * --drop-invalid"),
    flags("-b * -i * -k eth1,eth2"),
    flags("-b * -i 10.0.0.0/8,172.16.0.0/12,fd00:1::/48 -k eth1,tap+ -c eth2 --dual-stack"),
    flags("-u 3,4 -g 1,2 -b 4000,5000 -d 6000,7000 -k eth0 --dual-stack -i 2001:db8::/32 -x 2001:db8:1::/48"),
    flags("-i * -q 9000,9001 -o 5432,3306"),
    flags("-q 443 -o 53 --redirect-dns --capture-all-dns"),
    flags("-b * -i * -p 16001 -z 16006 -e 16008"),
    flags("-i 127.0.0.0/8,::1/128 --dual-stack"),
    flags("-b * -i * --native-nftables"),
    flags("-m TPROXY -b * -i * --drop-invalid --redirect-dns --capture-all-dns --native-nftables"),
    flags("-m TPROXY -b * -i * -c eth3 -k eth1 --drop-invalid --redirect-dns -o 22 -q 443 --dual-stack"),
    flags(
        "-b * -d 15090,15021,15020 -i * -x 10.3.0.0/16,10.1.0.0/16,10.2.0.0/15,fd00::/64 --dual-stack --optimize",
    ),
    flags("-b * -d 15090 -i * -x 10.3.0.0/16,10.5.0.0/16,192.0.2.1/32 -o 1,2 --optimize --element-counters"),
    flags("-m TPROXY -b 80,81,90 -c eth1,eth2,cali* --redirect-dns --optimize --dual-stack"),
    Setting { loopback: Some("127.0.0.0/8"), ..flags("-b * -i 10.0.0.0/9 -m TPROXY --dual-stack") },
    Setting { loopback: Some("127.0.0.0/16"), ..flags("-b *") },
    Setting { groups: Some("2001,2002,mail"), ..flags("-i *") },
    Setting { groups: Some(""), ..flags("-i * --dual-stack") },
    Setting { groups_exclude: Some("2001,mail"), ..flags("-i * --dual-stack -b *") },
    Setting {
        groups: Some(
            "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,\
             39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63",
        ),
        ..flags("-i *")
    },
    // More than one rule can compare one by one.
    Setting {
        groups: Some(
            "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,\
             34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63,\
             64,65,66,67,68,69,70,71,72,73,74,75,76,77,78,79,80,81,82,83,84,85,86,87,88,89,90,91,92,93,\
             94,95,96,97,98,99,100",
        ),
        ..flags("-i * --redirect-dns --capture-all-dns --drop-invalid --dual-stack")
    },
];

/// [All](ALL) of them, or every nth where MESHWIRE_TEST_EVERY says so: on an emulated machine each process takes long.
pub(crate) fn some() -> Vec<Setting> {
    let every = env::var("MESHWIRE_TEST_EVERY").map_or(1, |every| every.parse().unwrap());
    // From the end, where the settings have the most in them.
    ALL.iter().rev().step_by(every).rev().copied().collect()
}

impl Setting {
    /// A namespace for the settings, with an address of each family. None where the privileges are missing.
    pub(crate) fn namespace() -> Option<Namespace> {
        harness::privileged().then(|| Namespace::with_addresses(&["10.0.0.2", "fd00::2"]))
    }

    /// The command with this setting, to be run.
    pub(crate) fn command(&self) -> Intercept {
        let args: Vec<_> = self.args.split_whitespace().collect();
        let variables = [
            ("ISTIO_OUTBOUND_OWNER_GROUPS", self.groups),
            ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", self.groups_exclude),
            ("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", self.loopback),
        ];
        let variables = variables.into_iter().filter_map(|(name, value)| Some((name, value?)));
        variables.fold(
            Intercept::new(&args).etc("resolv.conf", RESOLV_CONF).etc("group", "mail:x:8:\n"),
            |command, (name, value)| command.env(name, value),
        )
    }

    /// A namespace in which the command has run with this setting, and nothing before.
    pub(crate) fn fresh(&self) -> Namespace {
        let namespace = Self::namespace().unwrap();
        self.command().apply(&namespace);
        namespace
    }

    /// The ruleset of this setting as the command prints it, in the format `text` or `json`.
    pub(crate) fn printed(&self, format: &str) -> String {
        self.command().with(&["--dry-run", "--output", format]).apply(&Self::namespace().unwrap())
    }
}

/// The clean-up with the mark and the table of this setting.
pub(crate) fn clean_up(namespace: &Namespace, args: &[&str]) {
    intercept(namespace, &[args, &["--cleanup-only"]].concat());
}
