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
    /// Bytes that the kernel keeps for user space, such as nft's comment
    pub userdata: &'a [u8],
}

impl<'a> Table<'a> {
    /// A table without flags.
    #[must_use]
    pub fn new(family: Family, name: &'a str) -> Self {
        Self { family, name, flags: TableFlags::default(), handle: 0, userdata: &[] }
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
