//! The explanation, for people.

use std::fmt::Write;
use std::net::SocketAddr;

use nft_ruleset::evaluate::{Assumption, Fate, Step};
use nft_ruleset::nft::print::hook_name;
use nft_ruleset::statement::{NatKind, RejectWith};
use nft_ruleset::{Family, Policy};

use crate::explain::{End, Explanation, Flow, Hop, Listener, Origin, Path, Verdict, Via};

/// More ways than that are counted only: each depends on something that is not known.
const WAYS: usize = 16;

/// What no rule can show.
const CGROUP: &str = "note: a BPF program of the sender's cgroup (connect4, connect6, sendmsg4, sendmsg6) runs before \
                      the first hook and may change the destination; it is not seen here";

pub(super) fn explanation(flow: &Flow, explanation: &Explanation<'_>) -> String {
    let mut text = format!("{}\n", subject(flow));
    let several = explanation.paths.len() > 1;
    for (number, path) in explanation.paths.iter().enumerate().take(WAYS) {
        if several {
            let _ = writeln!(text, "\nway {} of {}", number + 1, explanation.paths.len());
        }
        put_path(&mut text, path);
    }
    if explanation.paths.len() > WAYS {
        let more = explanation.paths.len() - WAYS;
        let _ = writeln!(
            text,
            "\n{more} more ways, which depend on what is not known: --output json has all of them"
        );
    }
    text.push('\n');
    for (table, chain) in &explanation.unseen {
        let hook = chain.base.map_or("", |base| hook_name(table.family, base.hook));
        let _ = writeln!(text, "note: chain {} of table {table} (hook {hook}) is not evaluated", chain.name);
    }
    if matches!(flow.origin, Origin::Process { .. }) {
        let _ = writeln!(text, "{CGROUP}");
    }
    let _ = writeln!(text, "{}", conclusion(explanation.verdict(), several));
    text
}

/// `tcp from uid 1000 gid 1000 to 10.0.0.5:443`
fn subject(flow: &Flow) -> String {
    let protocol = super::json::protocol_name(flow.protocol);
    let from = match (flow.source, flow.source_port) {
        (Some(address), Some(port)) => format!(" from {}", SocketAddr::new(address, port)),
        (Some(address), None) => format!(" from {address}"),
        _ => String::new(),
    };
    let who = match flow.origin {
        Origin::Process { uid, gid } => format!(" by uid {uid} gid {gid}"),
        Origin::Outside => " coming in".to_owned(),
    };
    format!("{protocol}{who}{from} to {}", flow.destination)
}

fn put_path(text: &mut String, path: &Path<'_>) {
    let mut hook = None;
    for hop in &path.hops {
        if hook != Some(hop.hook) {
            let _ = writeln!(text, "\n{}", hook_name(Family::Inet, hop.hook));
            hook = Some(hop.hook);
        }
        put_hop(text, hop);
    }
    let _ = writeln!(text, "\n{}", end(&path.end));
}

fn put_hop(text: &mut String, hop: &Hop<'_>) {
    let base = hop.chain.base;
    let kind = base.map_or("", |base| base.kind.name());
    let priority = base.map_or(0, |base| base.priority);
    let _ =
        writeln!(text, "  table {} chain {} (type {kind}, priority {priority})", hop.table, hop.chain.name);
    let outcome = &hop.outcome;
    for step in &outcome.steps {
        let rule = step.rule().map(ToString::to_string).unwrap_or_default();
        let assumed = outcome.assumptions.iter().any(|assumption| assumption.step == *step);
        let mark = if assumed { "  (assumed)" } else { "" };
        let _ = writeln!(text, "    {}: {rule}{mark}", position(step));
    }
    for assumption in outcome.assumptions.iter().filter(|assumption| !assumption.passes) {
        let _ = writeln!(
            text,
            "    {}: assumed not to pass: {}",
            position(&assumption.step),
            unknown(assumption)
        );
    }
    let _ = writeln!(text, "    -> {}", fate(&outcome.fate, base.map(|base| base.policy)));
}

/// `istio-output rule 7`, counted from 1.
fn position(step: &Step<'_>) -> String {
    format!("{} rule {}", step.chain.name, step.number + 1)
}

fn unknown(assumption: &Assumption<'_>) -> String {
    let statement = assumption.step.rule().and_then(|rule| rule.statements.get(assumption.statement));
    statement.map(ToString::to_string).unwrap_or_default()
}

pub(super) fn fate(fate: &Fate, policy: Option<Policy>) -> String {
    match fate {
        Fate::Policy => match policy {
            Some(Policy::Drop) => "drop (policy)".to_owned(),
            _ => "accept (policy)".to_owned(),
        },
        Fate::Accepted => "accept".to_owned(),
        Fate::Dropped => "drop".to_owned(),
        Fate::Rejected(reject) => match reject.with {
            RejectWith::TcpReset => "reject with tcp reset".to_owned(),
            _ => "reject".to_owned(),
        },
        Fate::Nat(translation) => {
            let to = match (translation.address, translation.port) {
                (Some(address), Some(port)) => format!(" to {}", SocketAddr::new(address, port)),
                (Some(address), None) => format!(" to {address}"),
                (None, Some(port)) => format!(" to :{port}"),
                (None, None) => String::new(),
            };
            let name = match translation.kind {
                NatKind::Redirect => "redirect",
                NatKind::Destination => "dnat",
                NatKind::Source => "snat",
                NatKind::Masquerade => "masquerade",
            };
            let open = if translation.is_open { " (the kernel chooses: not known)" } else { "" };
            format!("{name}{to}{open}")
        }
        Fate::Queued => "queue: a program in user space decides".to_owned(),
        Fate::Taken => "taken out of the stack".to_owned(),
        Fate::Unknown => "not known".to_owned(),
    }
}

fn end(end: &End) -> String {
    match end {
        End::Delivered { to, via, listener } => {
            let via = match via {
                Via::Direct => "",
                Via::Nat => " by NAT",
                Via::Tproxy => " by tproxy",
            };
            format!("arrives at {to}{via}: {}", listener.as_ref().map_or("nobody listens there".into(), who))
        }
        End::Leaves { device, to } => format!("leaves by {device} to {to}"),
        End::Martian { device, to } => {
            format!("leaves by {device} to {to}, from the loopback address: the receiver drops it")
        }
        End::Unroutable { to } => format!("has no route to {to}"),
        End::Dropped(fate) => format!("ends here: {}", self::fate(fate, Some(Policy::Drop))),
        End::Unknown(fate) => format!("cannot be followed further: {}", self::fate(fate, None)),
    }
}

fn who(listener: &Listener) -> String {
    let transparent = if listener.transparent == Some(true) { ", transparent" } else { "" };
    let address = SocketAddr::new(listener.address, listener.port);
    format!("uid {} listens at {address}{transparent}", listener.uid)
}

fn conclusion(verdict: Verdict, several: bool) -> &'static str {
    match (verdict, several) {
        (Verdict::Intercepted, _) => "intercepted",
        (Verdict::NoListener, _) => "not intercepted: redirected, but nobody listens there",
        (Verdict::NotIntercepted, false) => "not intercepted",
        (Verdict::NotIntercepted, true) => "not intercepted on every way",
    }
}
