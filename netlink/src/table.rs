//! Tables (`enum nft_table_attributes`).

use crate::{AttrWriter, DecodeError, Family, Message, uapi};

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
}

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// Its family
    pub family: Family,
    /// Its name: 1 to 255 bytes
    pub name: &'a str,
    /// Its flags
    pub flags: TableFlags,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// How many chains, sets, objects and flowtables it holds, as the kernel tells
    pub references: u32,
    /// The port number of the netlink socket that owns it, as the kernel tells (from 5.12 on); 0 for none
    pub owner: u32,
    /// Bytes that the kernel keeps for user space, such as nft's comment
    pub userdata: &'a [u8],
}

impl<'a> Table<'a> {
    /// A table without flags.
    #[must_use]
    pub fn new(family: Family, name: &'a str) -> Self {
        Self { family, name, flags: TableFlags::default(), handle: 0, references: 0, owner: 0, userdata: &[] }
    }

    /// Reads a `NFT_MSG_NEWTABLE` message.
    ///
    /// # Errors
    /// The message has no name, or lengths that do not fit.
    pub fn decode(message: &Message<'a>) -> Result<Self, DecodeError> {
        let mut table = Self::new(message.family, "");
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_TABLE_NAME => table.name = attribute.str()?,
                uapi::NFTA_TABLE_FLAGS => table.flags = TableFlags(attribute.be32()?),
                uapi::NFTA_TABLE_HANDLE => table.handle = attribute.be64()?,
                uapi::NFTA_TABLE_USE => table.references = attribute.be32()?,
                uapi::NFTA_TABLE_OWNER => table.owner = attribute.be32()?,
                uapi::NFTA_TABLE_USERDATA => table.userdata = attribute.value,
                _ => {}
            }
        }
        if table.name.is_empty() {
            return Err(DecodeError::Missing { attribute: uapi::NFTA_TABLE_NAME });
        }
        Ok(table)
    }

    pub(crate) fn encode(&self, writer: &mut AttrWriter) {
        writer.put_str(uapi::NFTA_TABLE_NAME, self.name);
        writer.put_be32(uapi::NFTA_TABLE_FLAGS, self.flags.0);
        if !self.userdata.is_empty() {
            writer.put(uapi::NFTA_TABLE_USERDATA, self.userdata);
        }
    }
}
