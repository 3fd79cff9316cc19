//! What a table has besides chains: sets, maps, objects and flowtables.

use nftwire::TunnelObject;

use super::statement::{Counter, Limit, ObjectKind, Quota, Statement, Synproxy};
use super::{DataType, Element, Expression, Name, SetOrigin, Userdata};

/// A set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name
    pub name: Name,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// What its keys are
    pub key: SetType,
    /// What it has for a key, where it is a map
    pub value: Option<SetValue>,
    /// `NFT_SET_*`
    pub flags: u32,
    /// How many elements it may hold; 0 for no limit
    pub size: u32,
    /// Milliseconds after which elements expire; 0 for never
    pub timeout: u64,
    /// Milliseconds between collections of expired elements; 0 for the kernel's choice
    pub gc_interval: u32,
    /// Whether it is to take little memory instead of little time
    pub memory_policy: bool,
    /// Whether overlapping elements become one
    pub auto_merge: bool,
    /// The comment
    pub comment: Option<Name>,
    /// Counters and limits that each element gets
    pub statements: Vec<Statement>,
    /// Its elements
    pub elements: Vec<Element>,
    /// Whether all this is what the kernel held
    pub origin: SetOrigin,
}

/// What the keys or the values of a set are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetType {
    /// The types of the fields, one after the other
    pub types: Vec<FieldType>,
    /// The expression that was given for the type, shown by `typeof`
    pub expression: Option<Expression>,
}

/// One field of a key or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldType {
    /// What it is
    pub data_type: DataType,
    /// Bytes of it, without padding
    pub len: u32,
}

/// What a map has for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetValue {
    /// A value
    Data {
        /// What it is
        data_type: SetType,
        /// Whether it is a range
        interval: bool,
    },
    /// A verdict
    Verdict,
    /// The name of an object
    Object(ObjectKind),
}

/// Something that rules use by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name
    pub name: Name,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// The comment
    pub comment: Option<Name>,
    /// What else programs keep with it
    pub userdata: Userdata,
    /// What it is
    pub data: ObjectData,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectData {
    /// Counts
    Counter(Counter),
    /// Matches while fewer bytes passed than the quota
    Quota(Quota),
    /// Matches while the rate is below the limit
    Limit(Limit),
    /// A helper of connection tracking
    CtHelper {
        /// Its name
        helper: Name,
        /// The network protocol (`NFPROTO_*`)
        l3proto: u8,
        /// The transport protocol (`IPPROTO_*`)
        l4proto: u8,
    },
    /// Timeouts of connection tracking
    CtTimeout {
        /// The network protocol (`NFPROTO_*`)
        l3proto: u8,
        /// The transport protocol (`IPPROTO_*`)
        l4proto: u8,
        /// Seconds, by the state's number from 0
        timeouts: Vec<u32>,
    },
    /// A connection that is expected
    CtExpectation {
        /// The network protocol (`NFPROTO_*`)
        l3proto: u8,
        /// The transport protocol (`IPPROTO_*`)
        l4proto: u8,
        /// The destination port
        port: u16,
        /// Milliseconds until it is not expected any more
        timeout: u32,
        /// How many at once
        size: u8,
    },
    /// A security context
    Secmark(Name),
    /// Answers TCP handshakes in the place of the server
    Synproxy(Synproxy),
    /// The metadata of a tunnel
    Tunnel(Box<TunnelObject>),
    /// Matches while there are at most `count` connections, or, `over`, when there are more
    CtCount {
        /// How many connections
        count: u32,
        /// Whether it matches above of that
        over: bool,
    },
    /// Of a kind that is not known
    Other(ObjectKind),
}

impl Object {
    /// Whether both are the same but for handles and for what they have counted.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        let Self { name, handle: _, comment, userdata, data } = self;
        (name, comment, userdata) == (&other.name, &other.comment, &other.userdata)
            && data.clone().without_counts() == other.data.clone().without_counts()
    }
}

impl ObjectData {
    /// The same before anything was counted.
    #[must_use]
    pub fn without_counts(self) -> Self {
        match self {
            Self::Counter(_) => Self::Counter(Counter::default()),
            Self::Quota(quota) => Self::Quota(Quota { used: 0, ..quota }),
            other => other,
        }
    }

    /// What kind of object it is.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Counter(_) => ObjectKind::Counter,
            Self::Quota(_) => ObjectKind::Quota,
            Self::Limit(_) => ObjectKind::Limit,
            Self::CtHelper { .. } => ObjectKind::CtHelper,
            Self::CtTimeout { .. } => ObjectKind::CtTimeout,
            Self::CtExpectation { .. } => ObjectKind::CtExpectation,
            Self::Secmark(_) => ObjectKind::Secmark,
            Self::Synproxy(_) => ObjectKind::Synproxy,
            Self::Tunnel(_) => ObjectKind::Tunnel,
            Self::CtCount { .. } => ObjectKind::Connlimit,
            Self::Other(kind) => *kind,
        }
    }
}

/// Connections that are forwarded past the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flowtable {
    /// Its name
    pub name: Name,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// Its place among those of its hook, the lowest first
    pub priority: i32,
    /// The devices
    pub devices: Vec<Name>,
    /// `NFT_FLOWTABLE_*`
    pub flags: u32,
}

impl Flowtable {
    /// Whether both are the same but for handles and the order of devices.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        let Self { name, handle: _, priority, devices, flags } = self;
        (name, priority, flags) == (&other.name, &other.priority, &other.flags)
            && same_devices(devices, &other.devices)
    }
}

/// Whether both lists have the same devices; their order means nothing.
pub(crate) fn same_devices(one: &[Name], other: &[Name]) -> bool {
    let sorted = |devices: &[Name]| {
        let mut devices = devices.to_vec();
        devices.sort_unstable();
        devices
    };
    sorted(one) == sorted(other)
}

impl SetType {
    /// Bytes of all fields, each but a single one padded to four.
    #[must_use]
    pub fn len(&self) -> u32 {
        match self.types.as_slice() {
            [single] => single.len,
            several => several.iter().map(|field| field.len.next_multiple_of(4)).sum(),
        }
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }
}

impl Set {
    /// A set of single values of this type, without elements.
    #[must_use]
    pub fn new(name: impl Into<Name>, data_type: DataType) -> Self {
        let field = FieldType { data_type, len: data_type.size() };
        Self {
            name: name.into(),
            handle: 0,
            key: SetType { types: vec![field], expression: None },
            value: None,
            flags: 0,
            size: 0,
            timeout: 0,
            gc_interval: 0,
            memory_policy: false,
            auto_merge: false,
            comment: None,
            statements: Vec::new(),
            elements: Vec::new(),
            origin: SetOrigin::default(),
        }
    }

    /// Whether it belongs to one rule.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.flags & nftwire::uapi::NFT_SET_ANONYMOUS != 0
    }

    /// What nft calls it.
    pub(crate) fn keyword(&self) -> &'static str {
        match &self.value {
            Some(_) => "map",
            None if self.is_meter() => "meter",
            None => "set",
        }
    }

    /// Whether a rule made it, and fills it.
    pub(crate) fn is_meter(&self) -> bool {
        self.is_anonymous() && self.flags & nftwire::uapi::NFT_SET_EVAL != 0
    }

    /// Whether both are the same but for names, handles and where they come from.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let Self { name: _, handle: _, key, value, flags, size, timeout, gc_interval, .. } = self;
        let Self { memory_policy, auto_merge, comment, statements, elements, origin: _, .. } = self;
        (key, value, flags, size, timeout, gc_interval)
            == (&other.key, &other.value, &other.flags, &other.size, &other.timeout, &other.gc_interval)
            && (memory_policy, auto_merge, comment)
                == (&other.memory_policy, &other.auto_merge, &other.comment)
            && (statements, elements) == (&other.statements, &other.elements)
    }

    /// Whether the kernel would take the same elements for both: all that they are but names, comments and elements.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        let kind = |set: &Self| (set.flags, set.size, set.timeout);
        self.key.types == other.key.types && self.value == other.value && kind(self) == kind(other)
    }

    /// Bytes of a value; 0 where there is none.
    #[must_use]
    pub fn value_len(&self) -> u32 {
        match &self.value {
            Some(SetValue::Data { data_type, .. }) => data_type.len(),
            _ => 0,
        }
    }

    /// What a value is, where it has a single field.
    #[must_use]
    pub fn value_type(&self) -> Option<DataType> {
        match &self.value {
            Some(SetValue::Data { data_type, .. }) => match data_type.types.as_slice() {
                [single] => Some(single.data_type),
                _ => None,
            },
            _ => None,
        }
    }
}
