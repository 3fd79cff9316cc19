//! Sets and maps (`enum nft_set_attributes`).

use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Expr, Family, Message, ObjectKind, Text, uapi};

kernel_number! {
    /// What the kernel chooses a set's data structure for (`enum nft_set_policies`).
    SetPolicy: u32 {
        /// Speed
        Performance = 0,
        /// Little memory
        Memory = 1,
    }
}

/// A set's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetFlags(pub u32);

impl SetFlags {
    /// `NFT_SET_ANONYMOUS`: belongs to the one rule that looks things up in it, and goes with it
    pub const ANONYMOUS: Self = Self(uapi::NFT_SET_ANONYMOUS);
    /// `NFT_SET_CONSTANT`: its elements do not change any more once it is bound to a rule
    pub const CONSTANT: Self = Self(uapi::NFT_SET_CONSTANT);
    /// `NFT_SET_INTERVAL`: its elements are the ends of ranges
    pub const INTERVAL: Self = Self(uapi::NFT_SET_INTERVAL);
    /// `NFT_SET_MAP`: each key has a value or a verdict
    pub const MAP: Self = Self(uapi::NFT_SET_MAP);
    /// `NFT_SET_TIMEOUT`: elements may expire
    pub const TIMEOUT: Self = Self(uapi::NFT_SET_TIMEOUT);
    /// `NFT_SET_EVAL`: rules may add elements
    pub const EVAL: Self = Self(uapi::NFT_SET_EVAL);
    /// `NFT_SET_OBJECT`: each key has a named object
    pub const OBJECT: Self = Self(uapi::NFT_SET_OBJECT);
    /// `NFT_SET_EXPR`: each element has expressions of its own (from 5.11 on)
    pub const EXPR: Self = Self(uapi::NFT_SET_EXPR);
    /// `NFT_SET_CONCAT`: keys are made of several fields
    pub const CONCAT: Self = Self(uapi::NFT_SET_CONCAT);

    /// Whether all of `other`'s flags are set here.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for SetFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    /// The family of its table
    pub family: Family,
    /// The name of its table
    pub table: Text<'a>,
    /// Its name; the kernel puts a number in the place of `%d` for an anonymous set
    pub name: Text<'a>,
    /// A number by which later messages of the same batch name it, where its name is not known yet; 0 for none
    pub id: u32,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// Its flags
    pub flags: SetFlags,
    /// User space's number for the type of its keys; the kernel only keeps it (nft's `enum datatypes`)
    pub key_type: u32,
    /// Bytes of a key: 1 to 64
    pub key_len: u32,
    /// The type of a map's values, as `key_type`; `0xffffff00` for verdicts
    pub data_type: u32,
    /// Bytes of a map's value
    pub data_len: u32,
    /// How many elements it may hold; 0 for no limit
    pub size: u32,
    /// Bytes of each field of a concatenated key
    pub fields: Vec<u32>,
    /// Milliseconds after which an element expires; 0 for never
    pub timeout: u64,
    /// Milliseconds between two searches for expired elements; 0 for the kernel's choice
    pub gc_interval: u32,
    /// What the kernel chooses its data structure for
    pub policy: SetPolicy,
    /// What a map's keys lead to, where these are named objects
    pub object: Option<ObjectKind>,
    /// The expressions that a new element gets, such as a counter; more than one from 5.11 on
    pub expressions: Vec<Expr<'a>>,
    /// Bytes that the kernel keeps for user space, such as nft's byte order of keys
    pub userdata: &'a [u8],
}

impl<'a> Set<'a> {
    /// A set of keys with `key_len` bytes.
    #[must_use]
    pub fn new(family: Family, table: impl Into<Text<'a>>, name: impl Into<Text<'a>>, key_len: u32) -> Self {
        Self {
            family,
            table: table.into(),
            name: name.into(),
            id: 0,
            handle: 0,
            flags: SetFlags::default(),
            key_type: 0,
            key_len,
            data_type: 0,
            data_len: 0,
            size: 0,
            fields: Vec::new(),
            timeout: 0,
            gc_interval: 0,
            policy: SetPolicy::Performance,
            object: None,
            expressions: Vec::new(),
            userdata: &[],
        }
    }

    /// Reads a `NFT_MSG_NEWSET` message.
    ///
    /// # Errors
    /// The message lacks a name, or has lengths that do not fit.
    pub fn decode(message: &Message<'a>) -> Result<Self, DecodeError> {
        let mut set = Self::new(message.family, "", "", 0);
        let (mut table, mut name) = (None, None);
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_SET_TABLE => table = Some(attribute.text()),
                uapi::NFTA_SET_NAME => name = Some(attribute.text()),
                uapi::NFTA_SET_HANDLE => set.handle = attribute.be64()?,
                uapi::NFTA_SET_ID => set.id = attribute.be32()?,
                uapi::NFTA_SET_FLAGS => set.flags = SetFlags(attribute.be32()?),
                uapi::NFTA_SET_KEY_TYPE => set.key_type = attribute.be32()?,
                uapi::NFTA_SET_KEY_LEN => set.key_len = attribute.be32()?,
                uapi::NFTA_SET_DATA_TYPE => set.data_type = attribute.be32()?,
                uapi::NFTA_SET_DATA_LEN => set.data_len = attribute.be32()?,
                uapi::NFTA_SET_TIMEOUT => set.timeout = attribute.be64()?,
                uapi::NFTA_SET_GC_INTERVAL => set.gc_interval = attribute.be32()?,
                uapi::NFTA_SET_POLICY => set.policy = SetPolicy::from_number(attribute.be32()?),
                uapi::NFTA_SET_OBJ_TYPE => set.object = Some(ObjectKind::from_number(attribute.be32()?)),
                uapi::NFTA_SET_EXPR => set.expressions.push(Expr::decode_inside(attribute.nested())?),
                uapi::NFTA_SET_EXPRESSIONS => {
                    Expr::decode_list_inside(attribute.nested(), &mut set.expressions)?;
                }
                uapi::NFTA_SET_DESC => set.decode_description(attribute.nested())?,
                uapi::NFTA_SET_USERDATA => set.userdata = attribute.value,
                _ => {}
            }
        }
        set.table = table.ok_or(DecodeError::Missing { attribute: uapi::NFTA_SET_TABLE })?;
        set.name = name.ok_or(DecodeError::Missing { attribute: uapi::NFTA_SET_NAME })?;
        Ok(set)
    }

    fn decode_description(&mut self, attributes: AttrReader<'_>) -> Result<(), DecodeError> {
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_SET_DESC_SIZE => self.size = attribute.be32()?,
                uapi::NFTA_SET_DESC_CONCAT => {
                    for field in attribute.nested() {
                        for attribute in field?.nested() {
                            let attribute = attribute?;
                            if attribute.kind == uapi::NFTA_SET_FIELD_LEN {
                                self.fields.push(attribute.be32()?);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn encode(&self, writer: &mut AttrWriter) {
        writer.put_text(uapi::NFTA_SET_TABLE, self.table);
        writer.put_text(uapi::NFTA_SET_NAME, self.name);
        writer.put_be32(uapi::NFTA_SET_FLAGS, self.flags.0);
        writer.put_be32(uapi::NFTA_SET_KEY_TYPE, self.key_type);
        writer.put_be32(uapi::NFTA_SET_KEY_LEN, self.key_len);
        if self.flags.contains(SetFlags::MAP) {
            writer.put_be32(uapi::NFTA_SET_DATA_TYPE, self.data_type);
            writer.put_be32(uapi::NFTA_SET_DATA_LEN, self.data_len);
        }
        if let Some(object) = self.object {
            writer.put_be32(uapi::NFTA_SET_OBJ_TYPE, object.number());
        }
        writer.put_be32(uapi::NFTA_SET_ID, self.id);
        if self.policy != SetPolicy::Performance {
            writer.put_be32(uapi::NFTA_SET_POLICY, self.policy.number());
        }
        if self.gc_interval != 0 {
            writer.put_be32(uapi::NFTA_SET_GC_INTERVAL, self.gc_interval);
        }
        if self.timeout != 0 {
            writer.put_be64(uapi::NFTA_SET_TIMEOUT, self.timeout);
        }
        if self.size != 0 || !self.fields.is_empty() {
            writer.nest(uapi::NFTA_SET_DESC, |writer| self.encode_description(writer));
        }
        if !self.userdata.is_empty() {
            writer.put(uapi::NFTA_SET_USERDATA, self.userdata);
        }
        Expr::put_stateful(writer, &self.expressions, uapi::NFTA_SET_EXPR, uapi::NFTA_SET_EXPRESSIONS);
    }

    fn encode_description(&self, writer: &mut AttrWriter) {
        if self.size != 0 {
            writer.put_be32(uapi::NFTA_SET_DESC_SIZE, self.size);
        }
        if !self.fields.is_empty() {
            writer.nest(uapi::NFTA_SET_DESC_CONCAT, |writer| {
                for &length in &self.fields {
                    writer.nest(uapi::NFTA_LIST_ELEM, |writer| {
                        writer.put_be32(uapi::NFTA_SET_FIELD_LEN, length);
                    });
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_bytes, assert_same_message, bytes, message, read};

    /// nft writes the description before the timeout, this crate after it.
    #[track_caller]
    fn same(set: &Set<'_>, golden: &str) {
        let golden = bytes(golden);
        assert_eq!(Set::decode(&read(&golden)).as_ref(), Ok(set));
        assert_same_message(&message(|batch| batch.add_set(set)), &golden);
    }

    #[test]
    fn intervals() {
        // set s { type ipv4_addr; flags interval; }
        let nft = "
            50000000 090a 0104 00000000 00000000  01000000 # NEWSET
              0600 0100 74000000                           # table
              0600 0200 73000000                           # name
              0800 0300 00000004                           # flags
              0800 0400 00000007                           # key_type
              0800 0500 00000004                           # key_len
              0800 0a00 00000001                           # id
              0a00 0d00 0004020000000000                   # userdata
        ";
        let set = Set {
            id: 1,
            flags: SetFlags::INTERVAL,
            key_type: 7,
            userdata: &[0, 4, 2, 0, 0, 0],
            ..Set::new(Family::Inet, "t", "s", 4)
        };
        same(&set, nft);
        assert_bytes(&message(|batch| batch.add_set(&set)), &bytes(nft));
    }

    #[test]
    fn size_and_timeout() {
        // set timed { type inet_service; size 100; timeout 1h; }
        let nft = "
            6c000000 090a 0104 00000000 00000000  01000000 # NEWSET
              0600 0100 74000000                           # table
              0a00 0200 74696d6564000000                   # name \"timed\"
              0800 0300 00000010                           # flags
              0800 0400 0000000d                           # key_type
              0800 0500 00000002                           # key_len
              0800 0a00 00000002                           # id
              0c00 0980                                    # desc
                0800 0100 00000064                         # size
              0c00 0b00 000000000036ee80                   # timeout
              0a00 0d00 0004020000000000                   # userdata
        ";
        let set = Set {
            id: 2,
            flags: SetFlags::TIMEOUT,
            key_type: 13,
            size: 100,
            timeout: 3_600_000,
            userdata: &[0, 4, 2, 0, 0, 0],
            ..Set::new(Family::Inet, "t", "timed", 2)
        };
        same(&set, nft);
    }

    #[test]
    fn concatenation() {
        // set cc { type ipv4_addr . inet_service; flags interval; }
        let nft = "
            78000000 090a 0104 00000000 00000000  01000000 # NEWSET
              0600 0100 74000000                           # table
              0700 0200 63630000                           # name
              0800 0300 00000084                           # flags
              0800 0400 000001cd                           # key_type
              0800 0500 00000008                           # key_len
              0800 0a00 00000003                           # id
              2000 0980                                    # desc
                1c00 0280                                  # concat
                  0c00 0180                                # field
                    0800 0100 00000004                     # len
                  0c00 0180                                # field
                    0800 0100 00000002                     # len
              1400 0d00 000400000000030800040d0000000100   # userdata
        ";
        let set = Set {
            id: 3,
            flags: SetFlags::INTERVAL | SetFlags::CONCAT,
            key_type: 0x1cd,
            fields: vec![4, 2],
            userdata: &[0, 4, 0, 0, 0, 0, 3, 8, 0, 4, 13, 0, 0, 0, 1, 0],
            ..Set::new(Family::Inet, "t", "cc", 8)
        };
        same(&set, nft);
        assert_bytes(&message(|batch| batch.add_set(&set)), &bytes(nft));
    }

    #[test]
    fn map() {
        // map m { type inet_service : ipv4_addr; }
        let nft = "
            6c000000 090a 0104 00000000 00000000  01000000       # NEWSET
              0600 0100 74000000                                 # table
              0600 0200 6d000000                                 # name
              0800 0300 00000008                                 # flags
              0800 0400 0000000d                                 # key_type
              0800 0500 00000002                                 # key_len
              0800 0600 00000007                                 # data_type
              0800 0700 00000004                                 # data_len
              0800 0a00 00000004                                 # id
              1600 0d00 0004020000000104020000000604000000000000 # userdata
        ";
        let set = Set {
            id: 4,
            flags: SetFlags::MAP,
            key_type: 13,
            data_type: 7,
            data_len: 4,
            userdata: &[0, 4, 2, 0, 0, 0, 1, 4, 2, 0, 0, 0, 6, 4, 0, 0, 0, 0],
            ..Set::new(Family::Inet, "t", "m", 2)
        };
        same(&set, nft);
        assert_bytes(&message(|batch| batch.add_set(&set)), &bytes(nft));
    }

    #[test]
    fn map_of_verdicts() {
        // map v { type inet_service : verdict; }
        let nft = "
            6c000000 090a 0104 00000000 00000000  01000000       # NEWSET
              0600 0100 74000000                                 # table
              0600 0200 76000000                                 # name
              0800 0300 00000008                                 # flags
              0800 0400 0000000d                                 # key_type
              0800 0500 00000002                                 # key_len
              0800 0600 ffffff00                                 # data_type
              0800 0700 00000000                                 # data_len
              0800 0a00 00000005                                 # id
              1600 0d00 0004020000000104000000000604000000000000 # userdata
        ";
        let set = Set {
            id: 5,
            flags: SetFlags::MAP,
            key_type: 13,
            data_type: 0xffff_ff00,
            userdata: &[0, 4, 2, 0, 0, 0, 1, 4, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0],
            ..Set::new(Family::Inet, "t", "v", 2)
        };
        same(&set, nft);
        assert_bytes(&message(|batch| batch.add_set(&set)), &bytes(nft));
    }

    #[test]
    fn anonymous() {
        // tcp dport { 80, 443 }
        let nft = "
            74000000 090a 0104 00000000 00000000  01000000                 # NEWSET
              0600 0100 74000000                                           # table
              0c00 0200 5f5f736574256400                                   # name \"__set%d\"
              0800 0300 00000003                                           # flags
              0800 0400 0000000d                                           # key_type
              0800 0500 00000002                                           # key_len
              0800 0a00 00000006                                           # id
              0c00 0980                                                    # desc
                0800 0100 00000002                                         # size
              2000 0d00 0004020000000314000407000000010c000408000000010402000000 # userdata
        ";
        let userdata = [0, 4, 2, 0, 0, 0, 3, 20, 0, 4, 7, 0, 0, 0, 1, 12, 0, 4, 8, 0, 0, 0, 1, 4, 2, 0, 0, 0];
        let set = Set {
            id: 6,
            flags: SetFlags::ANONYMOUS | SetFlags::CONSTANT,
            key_type: 13,
            size: 2,
            userdata: &userdata,
            ..Set::new(Family::Inet, "t", "__set%d", 2)
        };
        same(&set, nft);
        assert_bytes(&message(|batch| batch.add_set(&set)), &bytes(nft));
    }

    #[test]
    fn delete() {
        // delete set inet t s
        let nft = "
            24000000 0b0a 0100 00000000 00000000  01000000 # DELSET
              0600 0100 74000000                           # table
              0600 0200 73000000                           # name
        ";
        assert_bytes(&message(|batch| batch.del_set(Family::Inet, "t", "s")), &bytes(nft));
    }
}
