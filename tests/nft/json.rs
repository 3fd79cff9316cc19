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
		tcp flags & (fin | syn | rst) == syn accept
		tcp flags & (syn | ack) == syn | ack drop
		tcp flags != syn / syn,ack drop
		tcp option 253 missing tcp option maxseg exists accept
		tcp dport 80 synproxy
		rt0 addr[1] fe80::1 drop
		srh sid[1] ::1 accept
		exthdr frag exists accept
	}
	chain n {
		type nat hook prerouting priority dstnat
		dnat ip prefix to ip daddr map { 10.0.0.0/8 : 11.0.0.0/8 }
		tcp dport 80 dnat ip to 1.1.1.1:8080 random,persistent
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
