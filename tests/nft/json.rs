//! Commands in JSON.

use crate::harness::{Nft, can_run, inside, state, text};

/// What nft lists in JSON, both load again into the same state.
#[test]
fn nfts_json_loads() {
    if !can_run() {
        return;
    }
    let source = "table inet t {
	set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.1-192.168.1.9 } }
	chain c {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		ip saddr @s tcp dport { 22, 80-90 } counter packets 0 bytes 0 accept comment \"a b\"
		meta mark & 0xff == 0x10 jump d
		iifname \"lo\" ip6 daddr fd00::/8 goto d
	}
	chain d { tcp dport vmap { 80 : accept, 81 : drop }; }
}
";
    let (json, expected) = inside(|| {
        assert!(Nft::Theirs.load(source).status.success());
        (text(&Nft::Theirs.run(&["-j", "list", "ruleset"]).stdout), state())
    });
    let ours = inside(|| {
        let output = Nft::Ours.feed(&["-j", "-f", "-"], &json);
        assert!(output.status.success(), "{}", text(&output.stderr));
        state()
    });
    assert_eq!(ours, expected);
}

#[test]
fn what_is_wrong_with_a_document_is_said() {
    let document = "{\"nftables\": [{\"add\": {\"chain\": {\"family\": \"inet\", \"table\": \"t\"}}}]}";
    let output = Nft::Ours.feed(&["-j", "-f", "-"], document);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "Error: nftables[0].add.chain: `name` is missing\n");
}
