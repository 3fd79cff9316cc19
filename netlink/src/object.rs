//! Named objects, which rules and elements refer to (`enum nft_object_attributes`).

use netlink_packet_core::NLM_F_CREATE;

use crate::expr::{Connlimit, Counter, Limit, Quota, Synproxy};
use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, Batch, DecodeError, Family, Message, Text, TunnelObject, uapi};

kernel_number! {
    /// What an object is (`NFT_OBJECT_*`).
    ObjectKind: u32 {
        /// A counter
        Counter = 1,
        /// A quota
        Quota = 2,
        /// A helper of connection tracking
        CtHelper = 3,
        /// A limit
        Limit = 4,
        /// A limit of connections
        Connlimit = 5,
        /// The metadata of a tunnel
        Tunnel = 6,
        /// Timeouts of connection tracking
        CtTimeout = 7,
        /// A security mark
        Secmark = 8,
        /// An expectation of connection tracking
        CtExpectation = 9,
        /// A SYN proxy
        Synproxy = 10,
    }
}

/// A named object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// The family of its table
    pub family: Family,
    /// The name of its table
    pub table: Text<'a>,
    /// Its name: 1 to 255 bytes; each kind of object has names of its own
    pub name: Text<'a>,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// How many rules and elements refer to it, as the kernel reports it
    pub references: u32,
    /// Bytes that the kernel keeps for user space, such as nft's comment
    pub userdata: &'a [u8],
    /// What it is
    pub data: ObjectData<'a>,
}

/// What an object is, with its parameters and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectData<'a> {
    /// A counter
    Counter(Counter),
    /// A quota
    Quota(Quota),
    /// A limit
    Limit(Limit),
    /// A limit of connections
    Connlimit(Connlimit),
    /// A SYN proxy
    Synproxy(Synproxy),
    /// A helper of connection tracking
    CtHelper(CtHelper<'a>),
    /// Timeouts of connection tracking (from 4.19 on)
    CtTimeout(CtTimeout),
    /// An expectation of connection tracking (from 5.3 on)
    CtExpect(CtExpect),
    /// A security mark: the context, such as one of SELinux (from 4.20 on)
    Secmark(Text<'a>),
    /// The metadata of a tunnel
    Tunnel(Box<TunnelObject>),
    /// An object that this crate has no type for, as it was received
    Unknown {
        /// What it is
        kind: ObjectKind,
        /// Its attributes
        attributes: &'a [u8],
    },
}

/// A helper of connection tracking (`enum nft_ct_helper_attributes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtHelper<'a> {
    /// The helper's name, such as `ftp`
    pub helper: Text<'a>,
    /// The network protocol (`NFPROTO_*`); the table's where none is given
    pub l3proto: Option<u16>,
    /// The transport protocol (`IPPROTO_*`)
    pub l4proto: u8,
}

/// Timeouts of connection tracking (`enum nft_ct_timeout_timeout_attributes`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtTimeout {
    /// The network protocol (`NFPROTO_*`); the table's where none is given
    pub l3proto: Option<u16>,
    /// The transport protocol (`IPPROTO_*`)
    pub l4proto: u8,
    /// The states' numbers (`enum ctattr_timeout_tcp` and its like in nfnetlink_cttimeout.h) with the seconds that a
    /// connection may stay in each
    pub policy: Vec<(u16, u32)>,
}

/// An expectation of connection tracking (`enum nft_ct_expectation_attributes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtExpect {
    /// The network protocol (`NFPROTO_*`); the table's where none is given
    pub l3proto: Option<u16>,
    /// The transport protocol (`IPPROTO_*`)
    pub l4proto: u8,
    /// The destination port of the connection that is expected
    pub dport: u16,
    /// Milliseconds for which it is expected
    pub timeout: u32,
    /// How many connections may be expected at once
    pub size: u8,
}

impl ObjectData<'_> {
    /// Its number on the wire.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Counter(_) => ObjectKind::Counter,
            Self::Quota(_) => ObjectKind::Quota,
            Self::Limit(_) => ObjectKind::Limit,
            Self::Connlimit(_) => ObjectKind::Connlimit,
            Self::Synproxy(_) => ObjectKind::Synproxy,
            Self::CtHelper(_) => ObjectKind::CtHelper,
            Self::CtTimeout(_) => ObjectKind::CtTimeout,
            Self::CtExpect(_) => ObjectKind::CtExpectation,
            Self::Secmark(_) => ObjectKind::Secmark,
            Self::Tunnel(_) => ObjectKind::Tunnel,
            Self::Unknown { kind, .. } => *kind,
        }
    }
}

impl<'a> Object<'a> {
    /// An object of this table.
    #[must_use]
    pub fn new(
        family: Family,
        table: impl Into<Text<'a>>,
        name: impl Into<Text<'a>>,
        data: ObjectData<'a>,
    ) -> Self {
        Self { family, table: table.into(), name: name.into(), handle: 0, references: 0, userdata: &[], data }
    }

    /// Reads a `NFT_MSG_NEWOBJ` message.
    ///
    /// # Errors
    /// The message lacks a name, its type or its data, or has lengths that do not fit.
    pub fn decode(message: &Message<'a>) -> Result<Self, DecodeError> {
        let (mut table, mut name, mut kind, mut data) = (None, None, None, None);
        let (mut handle, mut references, mut userdata) = (0, 0, [].as_slice());
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_OBJ_TABLE => table = Some(attribute.text()),
                uapi::NFTA_OBJ_NAME => name = Some(attribute.text()),
                uapi::NFTA_OBJ_TYPE => kind = Some(ObjectKind::from_number(attribute.be32()?)),
                uapi::NFTA_OBJ_DATA => data = Some(attribute.nested()),
                uapi::NFTA_OBJ_HANDLE => handle = attribute.be64()?,
                uapi::NFTA_OBJ_USE => references = attribute.be32()?,
                uapi::NFTA_OBJ_USERDATA => userdata = attribute.value,
                _ => {}
            }
        }
        let kind = required(kind, uapi::NFTA_OBJ_TYPE)?;
        let data = ObjectData::decode(kind, required(data, uapi::NFTA_OBJ_DATA)?)?;
        Ok(Self {
            family: message.family,
            table: required(table, uapi::NFTA_OBJ_TABLE)?,
            name: required(name, uapi::NFTA_OBJ_NAME)?,
            handle,
            references,
            userdata,
            data,
        })
    }

    pub(crate) fn encode(&self, writer: &mut AttrWriter) {
        writer.put_text(uapi::NFTA_OBJ_TABLE, self.table);
        writer.put_text(uapi::NFTA_OBJ_NAME, self.name);
        writer.put_be32(uapi::NFTA_OBJ_TYPE, self.data.kind().number());
        writer.nest(uapi::NFTA_OBJ_DATA, |writer| self.data.encode(writer));
        if !self.userdata.is_empty() {
            writer.put(uapi::NFTA_OBJ_USERDATA, self.userdata);
        }
    }
}

impl Batch {
    /// Adds an object; an existing one of that kind and name stays as it is, except for its parameters, which change
    /// where its kind lets them (quotas, from 5.5 on).
    pub fn add_object(&mut self, object: &Object<'_>) {
        self.object(uapi::NFT_MSG_NEWOBJ, NLM_F_CREATE, object.family, |writer| object.encode(writer));
    }

    /// Deletes an object. No rule and no element may refer to it any more.
    pub fn del_object<'n>(
        &mut self,
        family: Family,
        table: impl Into<Text<'n>>,
        kind: ObjectKind,
        name: impl Into<Text<'n>>,
    ) {
        self.object(uapi::NFT_MSG_DELOBJ, 0, family, |writer| {
            writer.put_text(uapi::NFTA_OBJ_TABLE, table);
            writer.put_text(uapi::NFTA_OBJ_NAME, name);
            writer.put_be32(uapi::NFTA_OBJ_TYPE, kind.number());
        });
    }
}

impl ObjectKind {
    /// The name in nft's grammar: `counter`, `ct helper`, …. For `connlimit` nft has no word; this is the kernel's.
    /// `unknown` where there is none at all.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Quota => "quota",
            Self::CtHelper => "ct helper",
            Self::Limit => "limit",
            Self::CtTimeout => "ct timeout",
            Self::Secmark => "secmark",
            Self::CtExpectation => "ct expectation",
            Self::Synproxy => "synproxy",
            Self::Tunnel => "tunnel",
            Self::Connlimit => "connlimit",
            _ => "unknown",
        }
    }
}

impl<'a> ObjectData<'a> {
    fn decode(kind: ObjectKind, attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        match kind {
            ObjectKind::Counter => Counter::parse(attributes).map(Self::Counter),
            ObjectKind::Quota => Quota::parse(attributes).map(Self::Quota),
            ObjectKind::Limit => Limit::parse(attributes).map(Self::Limit),
            ObjectKind::Connlimit => Connlimit::parse(attributes).map(Self::Connlimit),
            ObjectKind::Synproxy => Synproxy::parse(attributes).map(Self::Synproxy),
            ObjectKind::CtHelper => CtHelper::decode(attributes).map(Self::CtHelper),
            ObjectKind::CtTimeout => CtTimeout::decode(attributes).map(Self::CtTimeout),
            ObjectKind::CtExpectation => CtExpect::decode(attributes).map(Self::CtExpect),
            ObjectKind::Secmark => decode_secmark(attributes).map(Self::Secmark),
            ObjectKind::Tunnel => {
                TunnelObject::parse(attributes).map(|tunnel| Self::Tunnel(Box::new(tunnel)))
            }
            _ => Ok(Self::Unknown { kind, attributes: attributes.as_bytes() }),
        }
    }

    fn encode(&self, writer: &mut AttrWriter) {
        match self {
            Self::Counter(counter) => counter.put(writer),
            Self::Quota(quota) => quota.put(writer),
            Self::Limit(limit) => limit.put(writer),
            Self::Connlimit(connlimit) => connlimit.put(writer),
            Self::Synproxy(synproxy) => synproxy.put(writer),
            Self::CtHelper(helper) => helper.encode(writer),
            Self::CtTimeout(timeout) => timeout.encode(writer),
            Self::CtExpect(expectation) => expectation.encode(writer),
            Self::Secmark(context) => writer.put_text(uapi::NFTA_SECMARK_CTX, context),
            Self::Tunnel(tunnel) => tunnel.encode(writer),
            Self::Unknown { attributes, .. } => writer.raw(attributes),
        }
    }
}

impl<'a> CtHelper<'a> {
    fn decode(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let (mut helper, mut l3proto, mut l4proto) = (None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_CT_HELPER_NAME => helper = Some(attribute.text()),
                uapi::NFTA_CT_HELPER_L3PROTO => l3proto = Some(attribute.be16()?),
                uapi::NFTA_CT_HELPER_L4PROTO => l4proto = Some(attribute.u8()?),
                _ => {}
            }
        }
        Ok(Self {
            helper: required(helper, uapi::NFTA_CT_HELPER_NAME)?,
            l3proto,
            l4proto: required(l4proto, uapi::NFTA_CT_HELPER_L4PROTO)?,
        })
    }

    fn encode(&self, writer: &mut AttrWriter) {
        writer.put_text(uapi::NFTA_CT_HELPER_NAME, self.helper);
        writer.put_u8(uapi::NFTA_CT_HELPER_L4PROTO, self.l4proto);
        if let Some(l3proto) = self.l3proto {
            writer.put_be16(uapi::NFTA_CT_HELPER_L3PROTO, l3proto);
        }
    }
}

impl CtTimeout {
    fn decode(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut l3proto, mut l4proto, mut policy) = (None, None, Vec::new());
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_CT_TIMEOUT_L3PROTO => l3proto = Some(attribute.be16()?),
                uapi::NFTA_CT_TIMEOUT_L4PROTO => l4proto = Some(attribute.u8()?),
                uapi::NFTA_CT_TIMEOUT_DATA => {
                    for state in attribute.nested() {
                        let state = state?;
                        policy.push((state.kind, state.be32()?));
                    }
                }
                _ => {}
            }
        }
        Ok(Self { l3proto, l4proto: required(l4proto, uapi::NFTA_CT_TIMEOUT_L4PROTO)?, policy })
    }

    fn encode(&self, writer: &mut AttrWriter) {
        if let Some(l3proto) = self.l3proto {
            writer.put_be16(uapi::NFTA_CT_TIMEOUT_L3PROTO, l3proto);
        }
        writer.put_u8(uapi::NFTA_CT_TIMEOUT_L4PROTO, self.l4proto);
        writer.nest(uapi::NFTA_CT_TIMEOUT_DATA, |writer| {
            for &(state, seconds) in &self.policy {
                writer.put_be32(state, seconds);
            }
        });
    }
}

impl CtExpect {
    fn decode(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut l3proto, mut l4proto, mut dport, mut timeout, mut size) = (None, None, None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_CT_EXPECT_L3PROTO => l3proto = Some(attribute.be16()?),
                uapi::NFTA_CT_EXPECT_L4PROTO => l4proto = Some(attribute.u8()?),
                uapi::NFTA_CT_EXPECT_DPORT => dport = Some(attribute.be16()?),
                // The one number here that goes in host order (nft_ct_expect_obj_init in net/netfilter/nft_ct.c).
                uapi::NFTA_CT_EXPECT_TIMEOUT => timeout = Some(attribute.ne32()?),
                uapi::NFTA_CT_EXPECT_SIZE => size = Some(attribute.u8()?),
                _ => {}
            }
        }
        Ok(Self {
            l3proto,
            l4proto: required(l4proto, uapi::NFTA_CT_EXPECT_L4PROTO)?,
            dport: required(dport, uapi::NFTA_CT_EXPECT_DPORT)?,
            timeout: required(timeout, uapi::NFTA_CT_EXPECT_TIMEOUT)?,
            size: required(size, uapi::NFTA_CT_EXPECT_SIZE)?,
        })
    }

    fn encode(&self, writer: &mut AttrWriter) {
        if let Some(l3proto) = self.l3proto {
            writer.put_be16(uapi::NFTA_CT_EXPECT_L3PROTO, l3proto);
        }
        writer.put_u8(uapi::NFTA_CT_EXPECT_L4PROTO, self.l4proto);
        writer.put_be16(uapi::NFTA_CT_EXPECT_DPORT, self.dport);
        writer.put(uapi::NFTA_CT_EXPECT_TIMEOUT, &self.timeout.to_ne_bytes());
        writer.put_u8(uapi::NFTA_CT_EXPECT_SIZE, self.size);
    }
}

fn decode_secmark(attributes: AttrReader<'_>) -> Result<Text<'_>, DecodeError> {
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == uapi::NFTA_SECMARK_CTX {
            return Ok(attribute.text());
        }
    }
    Err(DecodeError::Missing { attribute: uapi::NFTA_SECMARK_CTX })
}

fn required<T>(value: Option<T>, attribute: u16) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::Missing { attribute })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::LimitKind;
    use crate::testing::{assert_bytes, assert_same_message, bytes, message, read};

    /// nft writes the attributes in another order, and userdata before the data.
    #[track_caller]
    fn same(object: &Object<'_>, golden: &str) {
        let golden = bytes(golden);
        assert_eq!(Object::decode(&read(&golden)).as_ref(), Ok(object));
        assert_same_message(&message(|batch| batch.add_object(object)), &golden);
    }

    fn object<'a>(name: &'a str, data: ObjectData<'a>) -> Object<'a> {
        Object::new(Family::Inet, "t", name, data)
    }

    #[test]
    fn counter() {
        // add counter inet t k { packets 3 bytes 9 comment "hi"; }
        // [ counter pkts 3 bytes 9 ]
        let nft = "
            54000000 120a 0104 00000000 00000000  01000000 # NEWOBJ
              0600 0100 74000000                           # table \"t\"
              0600 0200 6b000000                           # name \"k\"
              0800 0300 00000001                           # type
              0900 0800 0003686900000000                   # userdata
              1c00 0480                                    # data
                0c00 0100 0000000000000009                 # bytes
                0c00 0200 0000000000000003                 # packets
        ";
        let counter = ObjectData::Counter(Counter { bytes: 9, packets: 3 });
        same(&Object { userdata: b"\0\x03hi\0", ..object("k", counter) }, nft);
    }

    #[test]
    fn quota() {
        // add quota inet t q { over 10 mbytes used 1 kbytes; }
        // [ quota bytes 10485760 flags 1 ]
        let nft = "
            50000000 120a 0104 00000000 00000000  01000000 # NEWOBJ
              0600 0100 74000000                           # table \"t\"
              0600 0200 71000000                           # name \"q\"
              0800 0300 00000002                           # type
              2400 0480                                    # data
                0c00 0100 0000000000a00000                 # bytes
                0c00 0400 0000000000000400                 # consumed
                0800 0200 00000001                         # flags
        ";
        let quota = Quota { bytes: 10 << 20, flags: uapi::NFT_QUOTA_F_INV, consumed: 1024 };
        same(&object("q", ObjectData::Quota(quota)), nft);
    }

    #[test]
    fn limit() {
        // add limit inet t l { rate 5/minute burst 7 packets; }
        // [ limit rate 5 unit 60 burst 7 type 0 flags 0 ]
        let nft = "
            60000000 120a 0104 00000000 00000000  01000000 # NEWOBJ
              0600 0100 74000000                           # table \"t\"
              0600 0200 6c000000                           # name \"l\"
              0800 0300 00000004                           # type
              3400 0480                                    # data
                0c00 0100 0000000000000005                 # rate
                0c00 0200 000000000000003c                 # unit
                0800 0300 00000007                         # burst
                0800 0400 00000000                         # type
                0800 0500 00000000                         # flags
        ";
        let limit = Limit { kind: LimitKind::Packets, rate: 5, unit: 60, burst: 7, inverted: false };
        same(&object("l", ObjectData::Limit(limit)), nft);
    }

    #[test]
    fn synproxy() {
        // add synproxy inet t p { mss 1460; wscale 7; timestamp; }
        // [ synproxy mss 1460 wscale 7 ]
        let nft = "
            48000000 120a 0104 00000000 00000000  01000000 # NEWOBJ
              0600 0100 74000000                           # table \"t\"
              0600 0200 70000000                           # name \"p\"
              0800 0300 0000000a                           # type
              1c00 0480                                    # data
                0600 0100 05b40000                         # mss
                0500 0200 07000000                         # wscale
                0800 0300 0000000b                         # flags
        ";
        let synproxy = Synproxy { mss: 1460, wscale: 7, flags: 0xb };
        same(&object("p", ObjectData::Synproxy(synproxy)), nft);
    }

    #[test]
    fn ct_helper() {
        // add ct helper inet t h { type "ftp" protocol tcp; l3proto ip; }
        // [ ct_helper name ftp family 2 protocol 6 ]
        let nft = "
            48000000 120a 0104 00000000 00000000  01000000 # NEWOBJ
              0600 0100 74000000                           # table \"t\"
              0600 0200 68000000                           # name \"h\"
              0800 0300 00000003                           # type
              1c00 0480                                    # data
                0700 0100 66747000                         # name
                0600 0200 00020000                         # l3proto
                0500 0300 06000000                         # l4proto
        ";
        // Here, nft leaves the NUL out.
        let golden = bytes(&nft.replace("0700 0100", "0800 0100"));
        let helper = CtHelper { helper: "ftp".into(), l3proto: Some(2), l4proto: 6 };
        let object = object("h", ObjectData::CtHelper(helper));
        assert_eq!(Object::decode(&read(&bytes(nft))).as_ref(), Ok(&object));
        assert_same_message(&message(|batch| batch.add_object(&object)), &golden);
    }

    #[test]
    fn ct_timeout() {
        // add ct timeout inet t m { protocol tcp; l3proto ip; policy = { established: 100, close: 4 }; }
        // [ ct_timeout family 2 protocol 6 policy = {ESTABLISHED = 100,CLOSE = 4,}]
        let nft = "
            9c000000 120a 0104 00000000 00000000  01000000 # NEWOBJ
              0600 0100 74000000                           # table \"t\"
              0600 0200 6d000000                           # name \"m\"
              0800 0300 00000007                           # type
              7000 0480                                    # data
                0600 0100 00020000                         # l3proto
                0500 0200 06000000                         # l4proto
                5c00 0380                                  # data
                  0800 0100 00000078                       # value
                  0800 0200 0000003c                       # verdict
                  0800 0300 00000064                       # ?
                  0800 0400 00000078                       # ?
                  0800 0500 0000003c                       # ?
                  0800 0600 0000001e                       # ?
                  0800 0700 00000078                       # ?
                  0800 0800 00000004                       # ?
                  0800 0900 00000078                       # ?
                  0800 0a00 0000012c                       # ?
                  0800 0b00 0000012c                       # ?
        ";
        let seconds = [120, 60, 100, 120, 60, 30, 120, 4, 120, 300, 300];
        let timeout = CtTimeout { l3proto: Some(2), l4proto: 6, policy: (1..).zip(seconds).collect() };
        same(&object("m", ObjectData::CtTimeout(timeout)), nft);
    }

    #[test]
    fn ct_expectation() {
        // add ct expectation inet t e { protocol tcp; dport 9876; timeout 2m; size 12; l3proto ip; }
        // [ ct_expect family 2 protocol 6 dport 9876 timeout 120000 size 12 ]
        let nft = "
            58000000 120a 0104 00000000 00000000  01000000 # NEWOBJ
              0600 0100 74000000                           # table \"t\"
              0600 0200 65000000                           # name \"e\"
              0800 0300 00000009                           # type
              2c00 0480                                    # data
                0600 0100 00020000                         # l3proto
                0500 0200 06000000                         # l4proto
                0600 0300 26940000                         # dport
                0800 0400 c0d40100                         # timeout
                0500 0500 0c000000                         # size
        ";
        // In host order: 120,000 where the golden bytes are from.
        let timeout = u32::from_ne_bytes([0xc0, 0xd4, 0x01, 0x00]);
        let expectation = CtExpect { l3proto: Some(2), l4proto: 6, dport: 9876, timeout, size: 12 };
        same(&object("e", ObjectData::CtExpect(expectation)), nft);
    }

    #[test]
    fn secmark() {
        // add secmark inet t s { "system_u:object_r:ssh_server_packet_t:s0"; }
        // [ secmark context system_u:object_r:ssh_server_packet_t:s0 ]
        let nft = "
            5c000000 120a 0104 00000000 00000000  01000000 # NEWOBJ
              0600 0100 74000000                           # table \"t\"
              0600 0200 73000000                           # name \"s\"
              0800 0300 00000008                           # type
              3000 0480                                    # data
                2c00 0100 73797374656d5f753a6f626a6563745f723a7373685f7365727665725f7061636b65745f743a7330
        ";
        let context = "system_u:object_r:ssh_server_packet_t:s0";
        assert_eq!(Object::decode(&read(&bytes(nft))), Ok(object("s", ObjectData::Secmark(context.into()))));
    }

    #[test]
    fn delete() {
        // add counter inet t k
        // delete counter inet t k
        let nft = "
            30000000 140a 0100 00000000 00000000  01000000 # DELOBJ
              0600 0100 74000000                           # table \"t\"
              0600 0200 6b000000                           # name \"k\"
              0800 0300 00000001                           # type
              0400 0480                                    # data
        ";
        // nft adds empty data, which the kernel does not look at.
        let ours = nft.replace("30000000", "2c000000").replace("0400 0480", "");
        let delete = message(|batch| batch.del_object(Family::Inet, "t", ObjectKind::Counter, "k"));
        assert_bytes(&delete, &bytes(&ours));
    }
}
