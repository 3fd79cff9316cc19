//! Tables (`enum nft_table_attributes`).

use crate::{AttrWriter, DecodeError, Family, Message, Text, uapi};

/// A table's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableFlags(pub u32);

impl TableFlags {
    /// `NFT_TABLE_F_DORMANT`: its base chains see no packets
    pub const DORMANT: Self = Self(uapi::NFT_TABLE_F_DORMANT);
    /// `NFT_TABLE_F_OWNER`: only the socket that made it may change it; it goes when that socket closes
    pub const OWNER: Self = Self(uapi::NFT_TABLE_F_OWNER);
    /// `NFT_TABLE_F_PERSIST`: it stays when its owner's socket closes (from 6.9 on)
    pub const PERSIST: Self = Self(uapi::NFT_TABLE_F_PERSIST);

    /// Whether all of `other`'s flags are set here.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for TableFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// Its family
    pub family: Family,
    /// Its name: 1 to 255 bytes
    pub name: Text<'a>,
    /// Its flags
    pub flags: TableFlags,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// How many chains, sets, objects and flowtables it holds, as the kernel reports it
    pub references: u32,
    /// The port ID of the netlink socket that owns it, as the kernel reports it (from 5.12 on); 0 for none
    pub owner: u32,
    /// Bytes that the kernel keeps for user space, such as nft's comment
    pub userdata: &'a [u8],
}

impl<'a> Table<'a> {
    /// A table without flags.
    #[must_use]
    pub fn new(family: Family, name: impl Into<Text<'a>>) -> Self {
        Self {
            family,
            name: name.into(),
            flags: TableFlags::default(),
            handle: 0,
            references: 0,
            owner: 0,
            userdata: &[],
        }
    }

    /// Reads a `NFT_MSG_NEWTABLE` message.
    ///
    /// # Errors
    /// The message has no name, or lengths that do not fit.
    pub fn decode(message: &Message<'a>) -> Result<Self, DecodeError> {
        let mut table = Self::new(message.family, "");
        let mut name = None;
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_TABLE_NAME => name = Some(attribute.text()),
                uapi::NFTA_TABLE_FLAGS => table.flags = TableFlags(attribute.be32()?),
                uapi::NFTA_TABLE_HANDLE => table.handle = attribute.be64()?,
                uapi::NFTA_TABLE_USE => table.references = attribute.be32()?,
                uapi::NFTA_TABLE_OWNER => table.owner = attribute.be32()?,
                uapi::NFTA_TABLE_USERDATA => table.userdata = attribute.value,
                _ => {}
            }
        }
        // It may be empty: the kernel takes that, too.
        table.name = name.ok_or(DecodeError::Missing { attribute: uapi::NFTA_TABLE_NAME })?;
        Ok(table)
    }

    pub(crate) fn encode(&self, writer: &mut AttrWriter) {
        writer.put_text(uapi::NFTA_TABLE_NAME, self.name);
        writer.put_be32(uapi::NFTA_TABLE_FLAGS, self.flags.0);
        if !self.userdata.is_empty() {
            writer.put(uapi::NFTA_TABLE_USERDATA, self.userdata);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_bytes, bytes, message, read};

    /// nft leaves NLM_F_CREATE out, which the kernel does not look at with tables; iptables-nft sets it, as this crate.
    #[track_caller]
    fn same(table: Table<'_>, golden: &str) {
        let golden = bytes(&golden.replacen("000a 0100", "000a 0104", 1));
        assert_eq!(Table::decode(&read(&golden)), Ok(table));
        assert_bytes(&message(|batch| batch.add_table(&table)), &golden);
    }

    #[test]
    fn plain() {
        // add table inet t
        let nft = "
            24000000 000a 0100 00000000 00000000  01000000 # NEWTABLE
              0600 0100 74000000                           # name
              0800 0200 00000000                           # flags
        ";
        same(Table::new(Family::Inet, "t"), nft);
    }

    #[test]
    fn dormant_with_a_comment() {
        // add table ip x { flags dormant; comment "mesh"; }
        let nft = "
            30000000 000a 0100 00000000 00000000  02000000 # NEWTABLE
              0600 0100 78000000                           # name
              0800 0200 00000001                           # flags
              0b00 0600 00056d6573680000                   # userdata
        ";
        let userdata = b"\x00\x05mesh\x00";
        same(Table { flags: TableFlags::DORMANT, userdata, ..Table::new(Family::Ipv4, "x") }, nft);
    }

    #[test]
    fn delete() {
        // delete table inet t
        let nft = "
            1c000000 020a 0100 00000000 00000000  01000000 # DELTABLE
              0600 0100 74000000                           # name
        ";
        assert_bytes(&message(|batch| batch.del_table(Family::Inet, "t")), &bytes(nft));
    }

    #[test]
    fn without_a_name() {
        let golden = "
            1c000000 000a 0000 00000000 00000000  01000000
              0800 0200 00000000
        ";
        let missing = DecodeError::Missing { attribute: uapi::NFTA_TABLE_NAME };
        assert_eq!(Table::decode(&read(&bytes(golden))), Err(missing));
    }

    #[test]
    fn handle_and_owner_of_a_dump() {
        // As the kernel reports a table that a process with port id 0x3945 owns.
        let golden = "
            40000000 000a 0000 00000000 00000000  01000001
              0600 0100 74000000
              0800 0200 00000002
              0800 0300 00000000
              0c00 0400 0000000000000011
              0800 0700 00003945
        ";
        let flags = TableFlags::OWNER;
        let table = Table { handle: 17, flags, owner: 0x3945, ..Table::new(Family::Inet, "t") };
        let golden = bytes(golden);
        let message = read(&golden);
        assert_eq!(message.generation, 1);
        assert_eq!(Table::decode(&message), Ok(table));
    }
}
