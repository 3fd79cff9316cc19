//! What nft 1.0.6 has no word for, or no right one: its texts are those of nft 1.1.7, or the kernel's own names.

use meshwire::apply::Counters;
use meshwire::interception::Interception;
use meshwire::network::RouteSocket;
use nft_ruleset::Ruleset;
use nft_ruleset::plan::Plan;
use nft_ruleset::snapshot::{Depth, Scope, Snapshot};
use nftwire::expr::{Cmp, CmpOp, Connlimit, Objref, Tunnel, TunnelKey, TunnelMode};
use nftwire::{
    Batch, Chain, Data, Expr, Family, GeneveOption, Object, ObjectData, ObjectKind, Position, Register, Rule,
    Socket, Table, TunnelObject, TunnelOptions,
};

use crate::harness::{Nft, can_run, inside, say, text};

/// What nft 1.1.7 lists of [`tunnels`]; flags and the flow label it leaves out.
const TUNNELS: &str = "table netdev t {
	tunnel one {
		id 10
		ip saddr 192.168.2.10
		ip daddr 192.168.2.11
		sport 10
		dport 20
		tos 4
		ttl 10
		erspan {
			version 1
			index 2
		}
	}

	tunnel two {
		id 12
		ip saddr 0.0.0.0
		ip daddr 192.168.2.11
		ttl 255
		# flags 0x2
		erspan {
			version 2
			direction egress
			id 10
		}
	}

	tunnel three {
		id 11
		ip6 saddr 2001:db8::1
		ip6 daddr 2001:db8::2
		ttl 255
		# flow label 0xab
		vxlan {
			gbp 200
		}
	}

	tunnel four {
		id 12
		ip saddr 192.168.2.10
		ip daddr 192.168.2.11
		ttl 255
		geneve {
			class 0x1 opt-type 0x1 data \"0x12345678\"
			class 0x1010 opt-type 0x2 data \"0x87054321\"
		}
	}

	chain c {
		tunnel name \"one\"
		tunnel id 10 tunnel path exists
		/* tunnel id for mode 1 */ /* cmp of an empty register */
	}
}
table inet l {
	connlimit few {
		ct count over 20
	}

	chain c {
		connlimit name \"few\"
	}
}
";

fn tunnels() -> Vec<(&'static str, ObjectData<'static>)> {
    let plain = TunnelObject {
        id: 12,
        source: Some([192, 168, 2, 10].into()),
        destination: Some([192, 168, 2, 11].into()),
        flow_label: 0,
        flags: 0,
        tos: 0,
        ttl: 255,
        sport: 0,
        dport: 0,
        options: None,
    };
    let geneve = |class, kind, data: &[u8]| GeneveOption { class, kind, data: data.to_vec() };
    let one = TunnelObject {
        id: 10,
        sport: 10,
        dport: 20,
        tos: 4,
        ttl: 10,
        options: Some(TunnelOptions::Erspan1 { index: 2 }),
        ..plain.clone()
    };
    let two = TunnelObject {
        source: None,
        flags: 2,
        options: Some(TunnelOptions::Erspan2 { hardware: 10, egress: true }),
        ..plain.clone()
    };
    let three = TunnelObject {
        id: 11,
        source: Some("2001:db8::1".parse().unwrap()),
        destination: Some("2001:db8::2".parse().unwrap()),
        flow_label: 0xab,
        options: Some(TunnelOptions::Vxlan(200)),
        ..plain.clone()
    };
    let options = [geneve(1, 1, &[0x12, 0x34, 0x56, 0x78]), geneve(0x1010, 2, &[0x87, 0x05, 0x43, 0x21])];
    let four = TunnelObject { options: Some(TunnelOptions::Geneve(options.to_vec())), ..plain };
    [("one", one), ("two", two), ("three", three), ("four", four)]
        .map(|(name, tunnel)| (name, ObjectData::Tunnel(Box::new(tunnel))))
        .into()
}

fn batch() -> Batch {
    let mut batch = Batch::new();
    batch.add_table(&Table::new(Family::Netdev, "t"));
    for (name, data) in tunnels() {
        batch.add_object(&Object::new(Family::Netdev, "t", name, data));
    }
    batch.add_chain(&Chain::new(Family::Netdev, "t", "c"));
    let sreg = Register::R1;
    let load = |key, mode| Expr::from(Tunnel { key, mode, dreg: sreg });
    let is = |data: &[u8]| Expr::from(Cmp { sreg, op: CmpOp::Eq, data: Data::new(data) });
    let ten = 10u32.to_ne_bytes();
    let rules: [&[Expr<'_>]; 3] = [
        &[Objref::Name { kind: ObjectKind::Tunnel, name: "one".into() }.into()],
        &[load(TunnelKey::Id, None), is(&ten), load(TunnelKey::Path, None), is(&[1])],
        &[load(TunnelKey::Id, Some(TunnelMode::Receive)), is(&ten)],
    ];
    for rule in rules {
        batch.add_rule(&Rule::new(Family::Netdev, "t", "c"), Position::Append, rule);
    }
    let few = ObjectData::Connlimit(Connlimit { count: 20, inverted: true });
    batch.add_table(&Table::new(Family::Inet, "l"));
    batch.add_object(&Object::new(Family::Inet, "l", "few", few));
    batch.add_chain(&Chain::new(Family::Inet, "l", "c"));
    let few = Objref::Name { kind: ObjectKind::Connlimit, name: "few".into() };
    batch.add_rule(&Rule::new(Family::Inet, "l", "c"), Position::Append, &[few.into()]);
    batch
}

fn listed(arguments: &[&str]) -> String {
    let output = Nft::Ours.run(arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// A kernel without nft_tunnel has none of it.
fn has_tunnels(committed: Result<nftwire::Commit, nftwire::Error>) -> bool {
    match committed {
        Ok(_) => true,
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("No such file") || text.contains("not supported"), "{text}");
            say("skipped: this kernel has no nft_tunnel");
            false
        }
    }
}

#[test]
fn tunnels_and_limits_of_connections_with_names() {
    if !can_run() {
        return;
    }
    let read = inside(|| {
        let mut socket = Socket::open().unwrap();
        if !has_tunnels(socket.commit(&mut batch())) {
            return None;
        }
        assert_eq!(listed(&["list", "ruleset"]), TUNNELS);
        let json = listed(&["-j", "list", "ruleset"]);
        for part in [
            r#""id": 10, "src-ipv4": "192.168.2.10", "dst-ipv4": "192.168.2.11", "sport": 10, "dport": 20, "tos": 4, "ttl": 10, "type": "erspan", "tunnel": {"version": 1, "index": 2}}}"#,
            r#""dst-ipv4": "192.168.2.11", "sport": 0, "dport": 0, "tos": 0, "ttl": 255, "type": "erspan", "tunnel": {"version": 2, "dir": "egress", "hwid": 10}}}"#,
            r#""src-ipv6": "2001:db8::1", "dst-ipv6": "2001:db8::2", "sport": 0, "dport": 0, "tos": 0, "ttl": 255, "type": "vxlan", "tunnel": {"gbp": 200}}}"#,
            r#""type": "geneve", "tunnel": [{"class": 1, "opt-type": 1, "data": "0x12345678"}, {"class": 4112, "opt-type": 2, "data": "0x87054321"}]}}"#,
            r#""val": 20, "inv": true}}"#,
            r#""expr": [{"tunnel": "one"}]"#,
            r#"{"match": {"op": "==", "left": {"tunnel": {"key": "id"}}, "right": 10}}, {"match": {"op": "==", "left": {"tunnel": {"key": "path"}}, "right": true}}"#,
        ] {
            assert!(json.contains(part), "{part}\n{json}");
        }
        Some(
            Snapshot::read(&mut socket, Scope::Family(Family::Unspec), Depth::All)
                .unwrap()
                .ruleset()
                .unwrap(),
        )
    });
    let Some(mut ruleset) = read else { return };
    // What has no text cannot be sent: the last rule is not.
    ruleset.tables[0].chains[0].rules.pop();
    arrives_elsewhere(&ruleset);
}

/// Applied in another namespace, it is all there.
fn arrives_elsewhere(ruleset: &Ruleset) {
    inside(|| {
        let interception = Interception { ruleset: ruleset.clone(), ..Interception::default() };
        let (mut nft, mut routes) = (Socket::open().unwrap(), RouteSocket::open().unwrap());
        interception.apply(&mut nft, &mut routes, Counters::Reset).unwrap();
        let plan = Plan::read(&mut nft, interception.desired()).unwrap();
        assert_eq!(plan.differences().unwrap(), []);
        let without_last = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.contains("mode 1")).map(str::to_owned).collect()
        };
        assert_eq!(without_last(&listed(&["list", "ruleset"])), without_last(TUNNELS));
    });
}

/// Loaded and listed, by text and by JSON, as nft 1.1.7 does it.
#[test]
fn fields_of_gre_and_of_tunnels() {
    if !can_run() {
        return;
    }
    let inet = "table inet r {
	chain c {
		gre version 1
		gre protocol ip
		gre flags 5
		gre version { 0, 1 }
		ip protocol gre gre protocol 0x6558
		meta l4proto gre ip saddr 1.2.3.4
	}
}
";
    // nft 1.0.6 loses the protocol before a port that it does not belong to.
    let ports = "table inet r {
	chain c {
		meta l4proto 99 th dport 5
		ip protocol 99 th dport 1-5
		meta l4proto 99 th sport . th dport { 5 . 6 }
		meta l4proto tcp tcp dport 5
	}
}
";
    let as_listed = |text: &str| text.replace("meta l4proto tcp tcp", "tcp");
    let netdev = "table netdev d {
	chain c {
		tunnel id 10 tunnel path exists
		tunnel id { 10, 20 } tunnel id 1-5 tunnel path missing
		meta mark set tunnel id
		tunnel id & 255 == 7
		tunnel path . ip saddr { exists . 1.1.1.1 }
	}
}
";
    for text in [inet, ports, netdev] {
        inside(|| {
            let output = Nft::Ours.load(text);
            let error = self::text(&output.stderr);
            if text == netdev && error.contains("No such file") {
                return say("skipped: this kernel has no nft_tunnel");
            }
            assert!(output.status.success(), "{error}");
            assert_eq!(listed(&["list", "ruleset"]), as_listed(text));
            let json = listed(&["-j", "list", "ruleset"]);
            assert!(Nft::Ours.run(&["flush", "ruleset"]).status.success());
            let output = Nft::Ours.feed(&["-j", "-f", "-"], &json);
            assert!(output.status.success(), "{}", self::text(&output.stderr));
            assert_eq!(listed(&["list", "ruleset"]), as_listed(text));
        });
    }
}
