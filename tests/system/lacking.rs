//! Kernels that lack something, or have not loaded anything yet. Whoever prepares such a kernel asks for these tests, as
//! vm-tests does; elsewhere they are left out.

use std::fs;

use crate::harness::nft::objects;
use crate::harness::{Intercept, Namespace, intercept, network, privileged};
use crate::settings::Setting;

/// The modules that are loaded.
fn modules() -> Vec<String> {
    let modules = fs::read_to_string("/proc/modules").unwrap();
    modules.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The exit code and standard error of a run that says nothing on standard output.
fn fails(namespace: &Namespace, args: &[&str]) -> (Option<i32>, String) {
    let output = Intercept::new(args).run(namespace);
    assert!(output.stdout.is_empty(), "{args:?}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
#[ignore = "needs a kernel in which nothing of nf_tables is loaded"]
fn modules_are_loaded_by_who_needs_them() {
    let Some(namespace) = Setting::namespace() else { return };
    let loaded = modules();
    assert!(!loaded.iter().any(|module| module == "nf_tables"), "{loaded:?}");
    intercept(&namespace, &["-i", "*", "-b", "*", "-m", "TPROXY", "--redirect-dns", "--capture-all-dns"]);
    let loaded = modules();
    for module in ["nf_tables", "nft_chain_nat", "nft_redir", "nft_ct", "nft_tproxy", "nf_conntrack"] {
        assert!(loaded.iter().any(|loaded| loaded == module), "{module}: {loaded:?}");
    }
}

#[test]
#[ignore = "needs a kernel without nft_tproxy"]
fn tproxy_is_named_and_all_else_works() {
    let Some(namespace) = Setting::namespace() else { return };
    let before = network(&namespace);
    for flags in [&[][..], &["--keep-counters"], &["--check"]] {
        let (code, said) = fails(&namespace, &[&["-b", "*", "-m", "TPROXY"], flags].concat());
        let error = said.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert_eq!(code, Some(1), "{said}");
        // The rule by its place and its text, and the expression in it.
        assert!(error.contains(" of istio-tproxy in inet istio-proxy-mangle"), "{error}");
        assert!(error.contains(" tproxy ip to :15006 ") && error.contains("(tproxy)"), "{error}");
        assert!(
            said.contains("\nhelp: this kernel has no expression tproxy: load the module nft_tproxy"),
            "{said}"
        );
        assert_eq!((objects(&namespace), network(&namespace)), (Vec::new(), before.clone()));
    }
    intercept(&namespace, &["-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns"]);
    intercept(&namespace, &["--cleanup-only"]);
}

#[test]
#[ignore = "needs a kernel without nf_tables"]
fn nf_tables_is_named_and_a_dry_run_works() {
    if !privileged() {
        return;
    }
    let namespace = Namespace::with_addresses(&["10.0.0.2"]);
    for args in [&["-b", "*"][..], &["-b", "*", "--keep-counters"], &["--check"], &["--cleanup-only"]] {
        let (code, said) = fails(&namespace, args);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("\nhelp: this kernel has no nf_tables: load the module nf_tables"), "{said}");
    }
    let printed = Intercept::new(&["-b", "*", "--dry-run"]).apply(&namespace);
    assert!(printed.starts_with("table inet istio-proxy-nat"), "{printed}");
}
