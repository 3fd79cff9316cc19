//! What events say of a change: what kind of object, where, and by whom.

use std::collections::BTreeMap;
use std::time::Instant;

use nftwire::events::Event;
use nftwire::{
    Chain, DecodeError, ElementList, Family, Flowtable, Message, Object, Record, Rule, Set, Table, uapi,
};

use super::touches::Touches;
use crate::interception::Interception;
use crate::mesh;

/// An object of the ruleset that came, went or changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedObject {
    /// nft's word for its kind: `table`, `chain`, `rule`, `set`, `element`, `object` or `flowtable`
    pub kind: &'static str,
    /// The family of its table, as nft calls it
    pub family: String,
    /// Its table
    pub table: String,
    /// Its name; of a rule the chain's, of an element the set's, and none of a table
    pub name: Option<String>,
    /// Whether it is gone; otherwise it is new, or has changed
    pub deleted: bool,
}

/// Who changed something, as the kernel reports it. A hint, not a proof: every thread chooses its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The name of the thread (`comm`), up to 15 bytes
    pub name: String,
    /// The thread ID, in the initial PID namespace: that of the node, which a container does not see
    pub thread: Option<u32>,
    /// The generation that it made
    pub generation: u32,
}

/// What happened, as far as it concerns what is compared.
#[derive(Debug, Default)]
pub struct Changes {
    /// Objects of the ruleset, and how often
    pub objects: BTreeMap<ChangedObject, usize>,
    /// Who changed them, the first one first
    pub writers: Vec<Writer>,
    /// Whether addresses, routes or policy rules changed; who changed them is not known
    pub network: bool,
    /// Whether events were lost, so that more may have changed, by others
    pub missed: bool,
    /// When the first one of it came, and the last
    pub(super) first: Option<Instant>,
    pub(super) last: Option<Instant>,
    /// Whether a transaction under way has changed something
    unfinished: bool,
    /// What was touched since the first of several looks
    pub(super) touches: Touches,
}

/// Writers that are named; where many change something in one moment, the first ones say enough.
const WRITERS: usize = 16;

impl Changes {
    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && !self.network && !self.missed
    }

    /// What happened so far; when the last one of it came stays.
    pub(super) fn take(&mut self) -> Self {
        let (last, unfinished) = (self.last, self.unfinished);
        std::mem::replace(self, Self { first: last, last, unfinished, ..Self::default() })
    }

    /// Forgets what is known already: a reading of this generation has seen it.
    pub(super) fn forget_up_to(&mut self, generation: u32) {
        let is_known = |writer: &Writer| writer.generation.wrapping_sub(generation).cast_signed() <= 0;
        if !self.missed && !self.unfinished && self.writers.iter().all(is_known) {
            *self = Self::default();
        }
    }

    /// Adds an event, if it is about what is compared.
    pub(super) fn add(&mut self, event: Event, desired: &Interception) -> Result<(), DecodeError> {
        match event {
            Event::New(record) => self.add_object(&record, false, desired)?,
            Event::Deleted(record) => self.add_object(&record, true, desired)?,
            Event::Generation { generation, writer, writer_name } => {
                self.add_writer(Writer {
                    name: String::from_utf8_lossy(&writer_name.unwrap_or_default()).into_owned(),
                    thread: writer,
                    generation,
                });
            }
            Event::Missed => {
                self.missed = true;
                self.unfinished = false;
                self.happened();
            }
            _ => {}
        }
        Ok(())
    }

    /// A transaction is complete.
    fn add_writer(&mut self, writer: Writer) {
        if std::mem::take(&mut self.unfinished) && self.writers.len() < WRITERS {
            self.writers.push(writer);
        }
    }

    /// Addresses, routes or policy rules changed.
    pub(super) fn add_network(&mut self) {
        self.network = true;
        self.happened();
    }

    fn add_object(
        &mut self,
        record: &Record,
        deleted: bool,
        desired: &Interception,
    ) -> Result<(), DecodeError> {
        let message = record.message()?;
        if let Some(object) = changed_object(&message, deleted, desired)? {
            let rule = if object.kind == "rule" { Some(Rule::decode(&message)?) } else { None };
            self.touches.add(&object, rule.as_ref());
            *self.objects.entry(object).or_default() += 1;
            self.unfinished = true;
            self.happened();
        }
        Ok(())
    }

    fn happened(&mut self) {
        self.last = Some(Instant::now());
        self.first = self.first.or(self.last);
    }
}

/// The object that an event is about; `None` where it is not compared.
fn changed_object(
    message: &Message<'_>,
    deleted: bool,
    desired: &Interception,
) -> Result<Option<ChangedObject>, DecodeError> {
    let family = message.family;
    let (kind, table, name) = match message.kind {
        uapi::NFT_MSG_NEWTABLE | uapi::NFT_MSG_DELTABLE => ("table", Table::decode(message)?.name, None),
        uapi::NFT_MSG_NEWCHAIN | uapi::NFT_MSG_DELCHAIN => {
            let chain = Chain::decode(message)?;
            ("chain", chain.table, Some(chain.name))
        }
        uapi::NFT_MSG_NEWRULE | uapi::NFT_MSG_DELRULE => {
            let rule = Rule::decode(message)?;
            ("rule", rule.table, Some(rule.chain))
        }
        uapi::NFT_MSG_NEWSET | uapi::NFT_MSG_DELSET => {
            let set = Set::decode(message)?;
            ("set", set.table, Some(set.name))
        }
        uapi::NFT_MSG_NEWSETELEM | uapi::NFT_MSG_DELSETELEM => {
            let list = ElementList::decode(message)?;
            ("element", list.table, Some(list.set))
        }
        uapi::NFT_MSG_NEWOBJ | uapi::NFT_MSG_DELOBJ => {
            let object = Object::decode(message)?;
            ("object", object.table, Some(object.name))
        }
        uapi::NFT_MSG_NEWFLOWTABLE | uapi::NFT_MSG_DELFLOWTABLE => {
            let flowtable = Flowtable::decode(message)?;
            ("flowtable", flowtable.table, Some(flowtable.name))
        }
        _ => return Ok(None),
    };
    let of_iptables = || {
        let chain = name.filter(|_| kind == "chain" || kind == "rule");
        matches!(family, Family::Ipv4 | Family::Ipv6)
            && chain.is_some_and(|chain| mesh::is_iptables_chain(chain.as_bytes()))
    };
    if !desired.desired().owns(family, table) && !of_iptables() {
        return Ok(None);
    }
    Ok(Some(ChangedObject {
        kind,
        family: family.to_string(),
        table: table.to_string(),
        name: name.map(|name| name.to_string()),
        deleted,
    }))
}
