//! Flowtables: the fast path past the chains (`enum nft_flowtable_attributes`).

use netlink_packet_core::NLM_F_CREATE;

use crate::{Attr, AttrWriter, Batch, DecodeError, Device, Family, Message, Text, uapi};

/// A flowtable's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowtableFlags(pub u32);

impl FlowtableFlags {
    /// `NFT_FLOWTABLE_HW_OFFLOAD`: the devices themselves forward (from 5.6 on)
    pub const OFFLOAD: Self = Self(uapi::NFT_FLOWTABLE_HW_OFFLOAD);
    /// `NFT_FLOWTABLE_COUNTER`: connections count the packets that take the fast path (from 5.7 on)
    pub const COUNTER: Self = Self(uapi::NFT_FLOWTABLE_COUNTER);
}

/// A flowtable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flowtable<'a> {
    /// The family of its table
    pub family: Family,
    /// The name of its table
    pub table: Text<'a>,
    /// Its name: 1 to 255 bytes
    pub name: Text<'a>,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// How many rules refer to it, as the kernel reports it
    pub references: u32,
    /// Its flags
    pub flags: FlowtableFlags,
    /// The hook's number; there is only `NF_NETDEV_INGRESS`, 0
    pub hook: u32,
    /// Its place among those of its hook, the lowest first
    pub priority: i32,
    /// The devices whose packets take the fast path
    pub devices: Vec<Device<'a>>,
}

impl<'a> Flowtable<'a> {
    /// A flowtable without devices.
    #[must_use]
    pub fn new(family: Family, table: impl Into<Text<'a>>, name: impl Into<Text<'a>>) -> Self {
        Self {
            family,
            table: table.into(),
            name: name.into(),
            handle: 0,
            references: 0,
            flags: FlowtableFlags::default(),
            hook: 0,
            priority: 0,
            devices: Vec::new(),
        }
    }

    /// Reads a `NFT_MSG_NEWFLOWTABLE` message.
    ///
    /// # Errors
    /// The message lacks a name, or has lengths that do not fit.
    pub fn decode(message: &Message<'a>) -> Result<Self, DecodeError> {
        let mut flowtable = Self::new(message.family, "", "");
        let (mut table, mut name) = (None, None);
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_FLOWTABLE_TABLE => table = Some(attribute.text()),
                uapi::NFTA_FLOWTABLE_NAME => name = Some(attribute.text()),
                uapi::NFTA_FLOWTABLE_HANDLE => flowtable.handle = attribute.be64()?,
                uapi::NFTA_FLOWTABLE_USE => flowtable.references = attribute.be32()?,
                uapi::NFTA_FLOWTABLE_FLAGS => flowtable.flags = FlowtableFlags(attribute.be32()?),
                uapi::NFTA_FLOWTABLE_HOOK => flowtable.decode_hook(attribute)?,
                _ => {}
            }
        }
        flowtable.table = table.ok_or(DecodeError::Missing { attribute: uapi::NFTA_FLOWTABLE_TABLE })?;
        flowtable.name = name.ok_or(DecodeError::Missing { attribute: uapi::NFTA_FLOWTABLE_NAME })?;
        Ok(flowtable)
    }

    fn decode_hook(&mut self, hook: Attr<'a>) -> Result<(), DecodeError> {
        for attribute in hook.nested() {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_FLOWTABLE_HOOK_NUM => self.hook = attribute.be32()?,
                uapi::NFTA_FLOWTABLE_HOOK_PRIORITY => self.priority = attribute.be32()?.cast_signed(),
                uapi::NFTA_FLOWTABLE_HOOK_DEVS => self.devices = Device::decode_list(attribute)?,
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn encode(&self, writer: &mut AttrWriter) {
        writer.put_text(uapi::NFTA_FLOWTABLE_TABLE, self.table);
        writer.put_text(uapi::NFTA_FLOWTABLE_NAME, self.name);
        writer.nest(uapi::NFTA_FLOWTABLE_HOOK, |writer| {
            writer.put_be32(uapi::NFTA_FLOWTABLE_HOOK_NUM, self.hook);
            writer.put(uapi::NFTA_FLOWTABLE_HOOK_PRIORITY, &self.priority.to_be_bytes());
            if !self.devices.is_empty() {
                Device::put_list(writer, uapi::NFTA_FLOWTABLE_HOOK_DEVS, &self.devices);
            }
        });
        if self.flags != FlowtableFlags::default() {
            writer.put_be32(uapi::NFTA_FLOWTABLE_FLAGS, self.flags.0);
        }
    }
}

impl Batch {
    /// Adds a flowtable; an existing one gets the devices as well.
    pub fn add_flowtable(&mut self, flowtable: &Flowtable<'_>) {
        self.object(uapi::NFT_MSG_NEWFLOWTABLE, NLM_F_CREATE, flowtable.family, |writer| {
            flowtable.encode(writer);
        });
    }

    /// Deletes a flowtable. No rule may use it any more.
    pub fn del_flowtable<'n>(
        &mut self,
        family: Family,
        table: impl Into<Text<'n>>,
        name: impl Into<Text<'n>>,
    ) {
        self.object(uapi::NFT_MSG_DELFLOWTABLE, 0, family, |writer| {
            writer.put_text(uapi::NFTA_FLOWTABLE_TABLE, table);
            writer.put_text(uapi::NFTA_FLOWTABLE_NAME, name);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_bytes, bytes, message, read};

    #[test]
    fn two_devices() {
        // add flowtable inet t f { hook ingress priority -10; devices = { lo, eth0 }; counter; }
        let nft = "
            58000000 160a 0104 00000000 00000000  01000000 # NEWFLOWTABLE
              0600 0100 74000000                           # table \"t\"
              0600 0200 66000000                           # name \"f\"
              2c00 0380                                    # hook
                0800 0100 00000000                         # num
                0800 0200 fffffff6                         # priority
                1800 0380                                  # devs
                  0900 0100 6574683000000000               # name \"eth0\"
                  0700 0100 6c6f0000                       # name \"lo\"
              0800 0700 00000002                           # flags
        ";
        let flowtable = Flowtable {
            flags: FlowtableFlags::COUNTER,
            priority: -10,
            devices: vec![Device::Name("eth0".into()), Device::Name("lo".into())],
            ..Flowtable::new(Family::Inet, "t", "f")
        };
        let golden = bytes(nft);
        assert_eq!(Flowtable::decode(&read(&golden)).as_ref(), Ok(&flowtable));
        assert_bytes(&message(|batch| batch.add_flowtable(&flowtable)), &golden);
    }

    #[test]
    fn delete() {
        // add flowtable inet t f { hook ingress priority 0; devices = { lo }; }
        // delete flowtable inet t f
        let nft = "
            24000000 180a 0100 00000000 00000000  01000000 # DELFLOWTABLE
              0600 0100 74000000                           # table \"t\"
              0600 0200 66000000                           # name \"f\"
        ";
        assert_bytes(&message(|batch| batch.del_flowtable(Family::Inet, "t", "f")), &bytes(nft));
    }
}
