//! A ruleset in libnftables' JSON schema, version 1 (libnftables-json(5)): what `nft -j list ruleset` gives and
//! `nft -j -f` takes.

use serde_json::{Value as Json, json};

use super::print::{
    ct_name, ct_state_names, hook_name, host_number, interface_name, meta_name, network_number, policy_name,
    symbol,
};
use super::{Bits, Chain, Data, DataType, Family, Op, Operand, Rule, Ruleset, Selector, Source, Statement};
use super::{Table, Value, Verdict};

/// The whole ruleset as one JSON object.
#[must_use]
pub fn ruleset(ruleset: &Ruleset) -> Json {
    let mut objects = vec![json!({ "metainfo": { "json_schema_version": 1 } })];
    for table in &ruleset.tables {
        let family = table.family.to_string();
        objects.push(json!({ "table": { "family": family, "name": table.name } }));
        objects.extend(table.chains.iter().map(|chain| json!({ "chain": chain_object(table, chain) })));
    }
    for table in &ruleset.tables {
        for chain in &table.chains {
            objects.extend(chain.rules.iter().map(|rule| json!({ "rule": rule_object(table, chain, rule) })));
        }
    }
    json!({ "nftables": objects })
}

fn chain_object(table: &Table, chain: &Chain) -> Json {
    let mut object = json!({ "family": table.family.to_string(), "table": table.name, "name": chain.name });
    if let Some(base) = &chain.base {
        object["type"] = base.kind.name().into();
        object["hook"] = hook_name(base.hook).into();
        object["prio"] = base.priority.into();
        object["policy"] = policy_name(base.policy).into();
    }
    object
}

fn rule_object(table: &Table, chain: &Chain, rule: &Rule) -> Json {
    let statements: Vec<_> = rule.statements.iter().map(statement).collect();
    json!({
        "family": table.family.to_string(),
        "table": table.name,
        "chain": chain.name,
        "expr": statements,
    })
}

fn statement(statement: &Statement) -> Json {
    match statement {
        Statement::Match { left, op, right } => json!({
            "match": {
                "op": match op { Op::Eq => "==", Op::Ne => "!=", Op::In => "in" },
                "left": source(left),
                "right": operand(left.selector.data_type(), right),
            }
        }),
        Statement::Counter => json!({ "counter": { "packets": 0, "bytes": 0 } }),
        Statement::Set { target, value: new } => {
            let selector = target.selector();
            json!({ "mangle": { "key": self::selector(selector), "value": value(selector.data_type(), new) } })
        }
        Statement::Redirect { port } => json!({ "redirect": { "port": port } }),
        Statement::Tproxy { family: Family::Inet | Family::Unspec, port } => {
            json!({ "tproxy": { "port": port } })
        }
        Statement::Tproxy { family, port } => {
            json!({ "tproxy": { "family": family.to_string(), "port": port } })
        }
        Statement::Verdict(Verdict::Accept) => json!({ "accept": null }),
        Statement::Verdict(Verdict::Drop) => json!({ "drop": null }),
        Statement::Verdict(Verdict::Return) => json!({ "return": null }),
        Statement::Verdict(Verdict::Jump(chain)) => json!({ "jump": { "target": chain } }),
    }
}

fn source(source: &Source) -> Json {
    let value = selector(source.selector);
    let Some(Bits { mask, or }) = &source.bits else { return value };
    let data_type = source.selector.data_type();
    let masked = json!({ "&": [value, constant(data_type, mask)] });
    if or.as_bytes().iter().any(|&byte| byte != 0) {
        json!({ "|": [masked, constant(data_type, or)] })
    } else {
        masked
    }
}

fn selector(selector: Selector) -> Json {
    match selector {
        Selector::Payload(field) => {
            json!({ "payload": { "protocol": field.protocol.name(), "field": field.name } })
        }
        Selector::Meta(key) => json!({ "meta": { "key": meta_name(key).0 } }),
        Selector::Ct(key) => json!({ "ct": { "key": ct_name(key) } }),
    }
}

fn operand(data_type: DataType, operand: &Operand) -> Json {
    match operand {
        Operand::Data(data) => constant(data_type, data),
        Operand::Prefix(prefix) => {
            json!({ "prefix": { "addr": prefix.network().to_string(), "len": prefix.prefix_len() } })
        }
        Operand::Set(elements) => {
            let elements: Vec<_> = elements.iter().map(|data| constant(data_type, data)).collect();
            json!({ "set": elements })
        }
    }
}

fn value(data_type: DataType, value: &Value) -> Json {
    match value {
        Value::Data(data) => constant(data_type, data),
        Value::Source(from) => source(from),
    }
}

fn constant(data_type: DataType, data: &Data) -> Json {
    let bytes = data.as_bytes();
    if let Some(symbol) = symbol(data_type, bytes) {
        return symbol.into();
    }
    match data_type {
        DataType::InterfaceName => interface_name(bytes).into(),
        DataType::Ipv4Addr | DataType::Ipv6Addr => super::print::address(bytes).map(|a| a.to_string()).into(),
        DataType::InetService => network_number(bytes).into(),
        DataType::CtState => {
            let mut names: Vec<_> = ct_state_names(host_number(bytes)).collect();
            match (names.pop(), names.is_empty()) {
                (Some(name), true) => name.into(),
                (Some(name), false) => {
                    names.push(name);
                    names.into()
                }
                (None, _) => host_number(bytes).into(),
            }
        }
        DataType::Integer
        | DataType::InetProto
        | DataType::Mark
        | DataType::NfProto
        | DataType::Uid
        | DataType::Gid => host_number(bytes).into(),
    }
}
