//! Commands.

use nftwire::Family;

use super::super::lexer::{Kind, Sign};
use super::super::source::Span;
use super::super::syntax::{
    CommandKind, Deletion, Flush, ItemSpec, ListWhat, Name, NameOrHandle, RulePosition, SetKind, TableSpec,
    Verb,
};
use super::expression::Side;
use super::{Parsed, Parser};
use crate::model::statement::ObjectKind;

/// The family with this name.
pub(super) fn family(word: &str) -> Option<Family> {
    Some(match word {
        "ip" => Family::Ipv4,
        "ip6" => Family::Ipv6,
        "inet" => Family::Inet,
        "arp" => Family::Arp,
        "bridge" => Family::Bridge,
        "netdev" => Family::Netdev,
        _ => return None,
    })
}

/// Objects by the names of commands, one and several.
const OBJECTS: &[(&str, &str, ObjectKind)] = &[
    ("counter", "counters", ObjectKind::Counter),
    ("quota", "quotas", ObjectKind::Quota),
    ("limit", "limits", ObjectKind::Limit),
    ("secmark", "secmarks", ObjectKind::Secmark),
    ("synproxy", "synproxys", ObjectKind::Synproxy),
];

/// The object of this name of a command's.
pub(super) fn object_kind(word: &str) -> Option<ObjectKind> {
    OBJECTS.iter().find(|(one, ..)| *one == word).map(|object| object.2)
}

impl Parser<'_> {
    pub(super) fn command(&mut self) -> Parsed<CommandKind> {
        let word = self.word().to_owned();
        let known = [
            "add", "create", "insert", "replace", "delete", "destroy", "get", "list", "reset", "flush",
            "rename", "monitor", "describe",
        ];
        if !known.contains(&word.as_str()) {
            return self.add(Verb::Add);
        }
        self.next();
        match word.as_str() {
            "add" => self.add(Verb::Add),
            "create" => self.add(Verb::Create),
            "insert" => {
                self.keyword("rule");
                let (chain, position) = self.rule_position(true)?;
                Ok(CommandKind::AddRule { chain, position, rule: self.rule()? })
            }
            "replace" => {
                self.expect_keyword("rule")?;
                let chain = self.item()?;
                let (handle, span) = self.handle()?;
                let position = RulePosition::Replace(handle, span);
                Ok(CommandKind::AddRule { chain, position, rule: self.rule()? })
            }
            "delete" => self.delete(false),
            "destroy" => self.delete(true),
            "get" => {
                self.expect_keyword("element")?;
                let set = self.item()?;
                Ok(CommandKind::GetElements(set, self.elements()?))
            }
            "list" => Ok(CommandKind::List(self.list_what()?)),
            "reset" => Ok(CommandKind::Reset(self.reset_what()?)),
            "flush" => self.flush(),
            "rename" => {
                self.expect_keyword("chain")?;
                let chain = self.item()?;
                Ok(CommandKind::RenameChain(chain, self.identifier()?))
            }
            "monitor" => self.monitor(),
            _ => Ok(CommandKind::Describe(self.primary(Side::Left)?)),
        }
    }

    fn add(&mut self, verb: Verb) -> Parsed<CommandKind> {
        let word = self.word().to_owned();
        match word.as_str() {
            "table" => {
                self.next();
                let table = self.table()?;
                let block =
                    if self.at_sign(Sign::BraceOpen) { Some(Box::new(self.table_block()?)) } else { None };
                Ok(CommandKind::AddTable(verb, table, block))
            }
            "chain" => {
                self.next();
                let chain = self.item()?;
                let block =
                    if self.at_sign(Sign::BraceOpen) { Some(Box::new(self.chain_block()?)) } else { None };
                Ok(CommandKind::AddChain(verb, chain, block))
            }
            "rule" if verb == Verb::Add => {
                self.next();
                self.add_rule()
            }
            "set" | "map" => {
                self.next();
                let set = self.item()?;
                let block = self.set_block(word == "map")?;
                Ok(CommandKind::AddSet(verb, set, Box::new(block)))
            }
            "element" => {
                self.next();
                let set = self.item()?;
                Ok(CommandKind::AddElements(verb, set, self.elements()?))
            }
            "flowtable" => {
                self.next();
                let flowtable = self.item()?;
                let block = self.flowtable_block()?;
                Ok(CommandKind::AddFlowtable(verb, flowtable, Box::new(block)))
            }
            "ct" => {
                self.next();
                let kind = self.ct_object()?;
                let object = self.item()?;
                let block = self.object_block(kind)?;
                Ok(CommandKind::AddObject(verb, object, Box::new(block)))
            }
            word => {
                if let Some(kind) = object_kind(word) {
                    self.next();
                    let object = self.item()?;
                    let block = self.object_block(kind)?;
                    return Ok(CommandKind::AddObject(verb, object, Box::new(block)));
                }
                if verb == Verb::Create {
                    return Err(self.unexpected());
                }
                self.add_rule()
            }
        }
    }

    fn add_rule(&mut self) -> Parsed<CommandKind> {
        let (chain, position) = self.rule_position(false)?;
        Ok(CommandKind::AddRule { chain, position, rule: self.rule()? })
    }

    /// The chain and, where it is said, where in it.
    fn rule_position(&mut self, insert: bool) -> Parsed<(ItemSpec, RulePosition)> {
        let chain = self.item()?;
        let keyword = self.word().to_owned();
        let has_number = self.peek_at(1).kind == Kind::Number;
        let position = match (keyword.as_str(), insert) {
            ("handle" | "position" | "index", _) if has_number => {
                let start = self.next().span;
                let number = self.number()?;
                let span = if keyword == "handle" { self.last } else { start.to(self.last) };
                match (keyword.as_str(), insert) {
                    ("index", true) => RulePosition::BeforeIndex(number, span),
                    ("index", false) => RulePosition::AfterIndex(number, span),
                    (_, true) => RulePosition::BeforeHandle(number, span),
                    (_, false) => RulePosition::AfterHandle(number, span),
                }
            }
            (_, true) => RulePosition::Prepend,
            (_, false) => RulePosition::Append,
        };
        Ok((chain, position))
    }

    fn handle(&mut self) -> Parsed<(u64, Span)> {
        self.expect_keyword("handle")?;
        let handle = self.number()?;
        Ok((handle, self.last))
    }

    /// The family, or that of IPv4 where none is said.
    fn family(&mut self) -> Family {
        self.explicit_family().unwrap_or(Family::Ipv4)
    }

    pub(super) fn explicit_family(&mut self) -> Option<Family> {
        let family = family(self.word())?;
        self.next();
        Some(family)
    }

    fn table(&mut self) -> Parsed<TableSpec> {
        let family = self.family();
        Ok(TableSpec { family, name: self.identifier()? })
    }

    fn item(&mut self) -> Parsed<ItemSpec> {
        let table = self.table()?;
        Ok(ItemSpec { table, name: self.identifier()? })
    }

    fn elements(&mut self) -> Parsed<super::Expr> {
        if self.at_sign(Sign::Dollar) { self.primary(Side::Right) } else { self.set() }
    }

    fn name_or_handle(&mut self) -> Parsed<NameOrHandle> {
        if self.word() == "handle" && self.peek_at(1).kind == Kind::Number {
            let (handle, span) = self.handle()?;
            return Ok(NameOrHandle::Handle(handle, span));
        }
        if self.peek().kind != Kind::Word {
            return Err(self.unexpected_instead_of("handle or string"));
        }
        Ok(NameOrHandle::Name(self.identifier()?))
    }

    fn delete(&mut self, destroy: bool) -> Parsed<CommandKind> {
        let word = self.word().to_owned();
        self.next();
        let what = match word.as_str() {
            "table" => {
                let family = self.family();
                Deletion::Table(family, self.name_or_handle()?)
            }
            "chain" => {
                let table = self.table()?;
                let chain = self.name_or_handle()?;
                // A newer nft takes devices away from a chain so, and this one deletes the chain.
                if self.at_sign(Sign::BraceOpen) {
                    return Err(self.unexpected());
                }
                Deletion::Chain(table, chain)
            }
            "rule" => {
                let chain = self.item()?;
                let (handle, span) = self.handle()?;
                Deletion::Rule(chain, handle, span)
            }
            "set" | "map" => {
                let table = self.table()?;
                Deletion::Set(table, self.name_or_handle()?)
            }
            "element" => {
                let set = self.item()?;
                Deletion::Elements(set, self.elements()?)
            }
            "flowtable" => {
                let table = self.table()?;
                let name = self.name_or_handle()?;
                match name {
                    NameOrHandle::Name(name) if self.at_sign(Sign::BraceOpen) => {
                        let block = self.flowtable_block()?;
                        Deletion::FlowtableDevices(ItemSpec { table, name }, Box::new(block))
                    }
                    name => Deletion::Flowtable(table, name),
                }
            }
            "ct" => {
                let kind = self.ct_object()?;
                let table = self.table()?;
                Deletion::Object(kind, table, self.name_or_handle()?)
            }
            word => match object_kind(word) {
                Some(kind) => {
                    let table = self.table()?;
                    Deletion::Object(kind, table, self.name_or_handle()?)
                }
                None => return Err(self.unexpected_before()),
            },
        };
        Ok(CommandKind::Delete { destroy, what })
    }

    /// The word that was taken last may not be here.
    fn unexpected_before(&mut self) -> super::Fault {
        let text = self.sources.slice(self.last).to_owned();
        let kind = if text == "\n" { Kind::Newline } else { Kind::Word };
        super::Fault::new(
            self.last,
            format!("syntax error, unexpected {}", super::words::describe(kind, &text)),
        )
    }

    pub(super) fn ct_object(&mut self) -> Parsed<ObjectKind> {
        let kind = match self.word() {
            "helper" => ObjectKind::CtHelper,
            "timeout" => ObjectKind::CtTimeout,
            "expectation" => ObjectKind::CtExpectation,
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(kind)
    }

    fn flush(&mut self) -> Parsed<CommandKind> {
        let word = self.word().to_owned();
        self.next();
        Ok(CommandKind::Flush(match word.as_str() {
            "ruleset" => Flush::Ruleset(self.explicit_family()),
            "table" => Flush::Table(self.table()?),
            "chain" => Flush::Chain(self.item()?),
            "set" => Flush::Set(SetKind::Set, self.item()?),
            "map" => Flush::Set(SetKind::Map, self.item()?),
            "meter" => Flush::Set(SetKind::Meter, self.item()?),
            "flow" => {
                self.expect_keyword("table")?;
                Flush::Set(SetKind::Meter, self.item()?)
            }
            _ => return Err(self.unexpected_before()),
        }))
    }

    fn list_what(&mut self) -> Parsed<ListWhat> {
        let word = self.word().to_owned();
        self.next();
        Ok(match word.as_str() {
            "ruleset" => ListWhat::Ruleset(self.explicit_family()),
            "tables" => ListWhat::Tables(self.explicit_family()),
            "table" => ListWhat::Table(self.table()?),
            "chains" => ListWhat::Chains(self.explicit_family()),
            "chain" => ListWhat::Chain(self.item()?),
            "sets" => self.list_sets(SetKind::Set)?,
            "maps" => self.list_sets(SetKind::Map)?,
            "meters" => self.list_sets(SetKind::Meter)?,
            "set" => ListWhat::Set(SetKind::Set, self.item()?),
            "map" => ListWhat::Set(SetKind::Map, self.item()?),
            "meter" => ListWhat::Set(SetKind::Meter, self.item()?),
            "flow" => {
                if self.keyword("tables") {
                    return Ok(ListWhat::Sets(SetKind::Meter, self.explicit_family(), None));
                }
                self.expect_keyword("table")?;
                ListWhat::Set(SetKind::Meter, self.item()?)
            }
            "flowtables" => ListWhat::Flowtables(self.explicit_family()),
            "flowtable" => ListWhat::Flowtable(self.item()?),
            "hooks" => {
                let family = self.explicit_family();
                let device = if self.keyword("device") { Some(self.string()?) } else { None };
                ListWhat::Hooks(family, device)
            }
            "ct" => {
                let word = self.word().to_owned();
                if matches!(word.as_str(), "helpers" | "timeout" | "expectation")
                    && self.word_at(1) == "table"
                {
                    self.next();
                    self.next();
                    let kind = match word.as_str() {
                        "helpers" => ObjectKind::CtHelper,
                        "timeout" => ObjectKind::CtTimeout,
                        _ => ObjectKind::CtExpectation,
                    };
                    return Ok(ListWhat::Objects(kind, None, Some(self.table()?)));
                }
                let kind = self.ct_object()?;
                ListWhat::Object(kind, self.item()?)
            }
            word => return self.list_objects(word),
        })
    }

    fn list_objects(&mut self, word: &str) -> Parsed<ListWhat> {
        if let Some(kind) = object_kind(word) {
            return Ok(ListWhat::Object(kind, self.item()?));
        }
        let several = OBJECTS.iter().find(|(_, several, _)| *several == word);
        let Some((.., kind)) = several else { return Err(self.unexpected_before()) };
        let (family, table) = self.family_or_table()?;
        Ok(ListWhat::Objects(*kind, family, table))
    }

    /// Nothing, a family, or `table` with its name.
    fn family_or_table(&mut self) -> Parsed<(Option<Family>, Option<TableSpec>)> {
        if self.keyword("table") {
            return Ok((None, Some(self.table()?)));
        }
        Ok((self.explicit_family(), None))
    }

    fn list_sets(&mut self, kind: SetKind) -> Parsed<ListWhat> {
        let (family, table) = self.family_or_table()?;
        Ok(ListWhat::Sets(kind, family, table))
    }

    fn reset_what(&mut self) -> Parsed<ListWhat> {
        let word = self.word().to_owned();
        self.next();
        Ok(match word.as_str() {
            "counter" | "counters" | "quota" | "quotas" => return self.list_objects(&word),
            "rules" => {
                if self.keyword("table") {
                    return Ok(ListWhat::Rules(None, Some(self.table()?), None));
                }
                if self.keyword("chain") {
                    let chain = self.item()?;
                    return Ok(ListWhat::Rules(None, Some(chain.table), Some(chain.name)));
                }
                ListWhat::Rules(self.explicit_family(), None, None)
            }
            "rule" => {
                let chain = self.item()?;
                let (handle, _) = self.handle()?;
                ListWhat::Rule(chain, handle)
            }
            "set" => ListWhat::Set(SetKind::Set, self.item()?),
            "map" => ListWhat::Set(SetKind::Map, self.item()?),
            "element" => {
                let set = self.item()?;
                ListWhat::Elements(set, self.elements()?)
            }
            _ => return Err(self.unexpected_before()),
        })
    }

    fn monitor(&mut self) -> Parsed<CommandKind> {
        let objects = ["tables", "chains", "sets", "rules", "elements", "ruleset", "trace"];
        let is_object = |word: &str| objects.contains(&word);
        let mut event = None;
        let mut object: Option<Name> = None;
        if !is_object(self.word()) && !matches!(self.word(), "" | "json" | "vm") {
            event = Some(self.identifier()?);
        }
        if is_object(self.word()) {
            object = Some(self.identifier()?);
        }
        let vm = self.keyword("vm");
        let json = self.keyword("json");
        if vm && !json {
            return Err(self.unexpected());
        }
        Ok(CommandKind::Monitor { event, object, json })
    }
}
