//! The explanation, for programs.

use std::net::SocketAddr;

use nft_ruleset::Protocol;
use nft_ruleset::nft::print::hook_name;
use serde_json::{Value as Json, json};

use super::text::fate;
use crate::explain::{End, Explanation, Flow, Hop, Listener, Origin, Path, Verdict, Via};

pub(super) fn explanation(flow: &Flow, explanation: &Explanation<'_>) -> String {
    let verdict = match explanation.verdict() {
        Verdict::Intercepted => "intercepted",
        Verdict::NoListener => "no-listener",
        Verdict::NotIntercepted => "not-intercepted",
    };
    let unseen: Vec<_> = explanation
        .unseen
        .iter()
        .map(|(table, chain)| json!({ "table": table.to_string(), "chain": chain.name.to_string() }))
        .collect();
    let paths: Vec<_> = explanation.paths.iter().map(path).collect();
    let object = json!({ "flow": self::flow(flow), "paths": paths, "unseen": unseen, "verdict": verdict });
    format!("{object}\n")
}

pub(super) fn protocol_name(protocol: u8) -> &'static str {
    if protocol == Protocol::UDP { "udp" } else { "tcp" }
}

fn flow(flow: &Flow) -> Json {
    let mut object = json!({
        "protocol": protocol_name(flow.protocol),
        "to": flow.destination.to_string(),
        "direction": "in",
    });
    if let Origin::Process { uid, gid } = flow.origin {
        object["direction"] = json!("out");
        object["uid"] = json!(uid);
        object["gid"] = json!(gid);
    }
    if let Some(source) = flow.source {
        object["from"] = match flow.source_port {
            Some(port) => json!(SocketAddr::new(source, port).to_string()),
            None => json!(source.to_string()),
        };
    }
    object
}

fn path(path: &Path<'_>) -> Json {
    let chains: Vec<_> = path.hops.iter().map(hop).collect();
    json!({ "chains": chains, "end": end(&path.end) })
}

fn hop(hop: &Hop<'_>) -> Json {
    let outcome = &hop.outcome;
    let step = |chain: &str, number: usize| json!({ "chain": chain, "rule": number + 1 });
    let rules: Vec<_> = outcome
        .steps
        .iter()
        .map(|at| {
            let mut object = step(&at.chain.name.to_string(), at.number);
            object["text"] = json!(at.rule().map(ToString::to_string));
            object["handle"] = json!(at.rule().map(|rule| rule.handle));
            object
        })
        .collect();
    let assumptions: Vec<_> = outcome
        .assumptions
        .iter()
        .map(|assumption| {
            let mut object = step(&assumption.step.chain.name.to_string(), assumption.step.number);
            let statement = assumption.step.rule().and_then(|rule| rule.statements.get(assumption.statement));
            object["statement"] = json!(statement.map(ToString::to_string));
            object["passes"] = json!(assumption.passes);
            object
        })
        .collect();
    json!({
        "hook": hook_name(nft_ruleset::Family::Inet, hop.hook),
        "family": hop.table.family.to_string(),
        "table": hop.table.name.to_string(),
        "chain": hop.chain.name.to_string(),
        "priority": hop.chain.base.map(|base| base.priority),
        "rules": rules,
        "assumptions": assumptions,
        "verdict": fate(&outcome.fate, hop.chain.base.map(|base| base.policy)),
    })
}

fn end(end: &End) -> Json {
    match end {
        End::Delivered { to, via, listener } => {
            let via = match via {
                Via::Direct => "direct",
                Via::Nat => "nat",
                Via::Tproxy => "tproxy",
            };
            json!({ "kind": "delivered", "to": to.to_string(), "via": via, "listener": listener.as_ref().map(self::listener) })
        }
        End::Leaves { device, to } => json!({ "kind": "leaves", "device": device, "to": to.to_string() }),
        End::Martian { device, to } => json!({ "kind": "martian", "device": device, "to": to.to_string() }),
        End::Unroutable { to } => json!({ "kind": "unroutable", "to": to.to_string() }),
        End::Dropped(fate) => json!({ "kind": "dropped", "verdict": self::fate(fate, None) }),
        End::Unknown(fate) => json!({ "kind": "unknown", "verdict": self::fate(fate, None) }),
    }
}

fn listener(listener: &Listener) -> Json {
    json!({
        "address": listener.address.to_string(),
        "port": listener.port,
        "uid": listener.uid,
        "transparent": listener.transparent,
    })
}
