//! Chains (`enum nft_chain_attributes`).

use crate::expr::Counter;
use crate::number::kernel_number;
use crate::{Attr, AttrWriter, DecodeError, Device, Family, Message, Text, uapi};

kernel_number! {
    /// Where a base chain meets packets. The names are those of inet, ip, ip6 and bridge; in other families the same
    /// numbers mean other hooks (`NF_NETDEV_INGRESS` is 0, as `NF_INET_PRE_ROUTING`).
    Hook: u32 {
        /// `NF_INET_PRE_ROUTING`
        PreRouting = uapi::NF_INET_PRE_ROUTING,
        /// `NF_INET_LOCAL_IN`
        LocalIn = uapi::NF_INET_LOCAL_IN,
        /// `NF_INET_FORWARD`
        Forward = uapi::NF_INET_FORWARD,
        /// `NF_INET_LOCAL_OUT`
        LocalOut = uapi::NF_INET_LOCAL_OUT,
        /// `NF_INET_POST_ROUTING`
        PostRouting = uapi::NF_INET_POST_ROUTING,
        /// `NF_INET_INGRESS`: at a device, in inet only (from 5.10 on)
        InetIngress = uapi::NF_INET_INGRESS,
    }
}

/// What happens to a packet that no rule of a base chain decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// `NF_DROP`
    Drop,
    /// `NF_ACCEPT`
    Accept,
}

impl Policy {
    /// The number on the wire.
    pub(crate) fn verdict(self) -> i32 {
        match self {
            Self::Drop => uapi::NF_DROP,
            Self::Accept => uapi::NF_ACCEPT,
        }
    }
}

/// A chain's flags except `NFT_CHAIN_BASE`, which `Chain::base` implies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainFlags(pub u32);

impl ChainFlags {
    /// `NFT_CHAIN_HW_OFFLOAD`: its devices themselves evaluate it (from 5.4 on)
    pub const OFFLOAD: Self = Self(uapi::NFT_CHAIN_HW_OFFLOAD);
    /// `NFT_CHAIN_BINDING`: belongs to the one rule that jumps to it, and goes with it (from 5.9 on)
    pub const BINDING: Self = Self(uapi::NFT_CHAIN_BINDING);

    /// Whether all of `other`'s flags are set here.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What makes a chain a base chain: packets enter it by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseChain<'a> {
    /// The chain type: `filter`, `nat` or `route`
    pub kind: &'a str,
    /// Where it meets packets
    pub hook: Hook,
    /// Its place among the chains of its hook, the lowest first
    pub priority: i32,
    /// Its policy; `None` leaves the one it has, accept for a new chain
    pub policy: Option<Policy>,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    /// The family of its table
    pub family: Family,
    /// The name of its table
    pub table: Text<'a>,
    /// Its name: 1 to 255 bytes; empty to have the kernel name one that has a [number](Self::id) and
    /// [`ChainFlags::BINDING`]
    pub name: Text<'a>,
    /// A number by which the rest of its batch refers to it; 0 for none
    pub id: u32,
    /// The kernel's handle; 0 where it is not known
    pub handle: u64,
    /// What makes it a base chain, where it is one
    pub base: Option<BaseChain<'a>>,
    /// The devices that a base chain at ingress or egress is bound to
    pub devices: Vec<Device<'a>>,
    /// Its flags
    pub flags: ChainFlags,
    /// How often a base chain's policy decided; `None` where that is not counted
    pub counters: Option<Counter>,
    /// How many rules, jumps and elements it has or is the target of, as the kernel reports it
    pub references: u32,
    /// Bytes that the kernel keeps for user space, such as nft's comment
    pub userdata: &'a [u8],
}

impl<'a> Chain<'a> {
    /// A regular chain.
    #[must_use]
    pub fn new(family: Family, table: impl Into<Text<'a>>, name: impl Into<Text<'a>>) -> Self {
        Self {
            family,
            table: table.into(),
            name: name.into(),
            id: 0,
            handle: 0,
            base: None,
            devices: Vec::new(),
            flags: ChainFlags::default(),
            counters: None,
            references: 0,
            userdata: &[],
        }
    }

    /// Reads a `NFT_MSG_NEWCHAIN` message.
    ///
    /// # Errors
    /// The message lacks a name, or has lengths that do not fit.
    pub fn decode(message: &Message<'a>) -> Result<Self, DecodeError> {
        let mut chain = Self::new(message.family, "", "");
        let (mut table, mut name) = (None, None);
        let (mut hook, mut kind, mut policy) = (None, "", None);
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_CHAIN_TABLE => table = Some(attribute.text()),
                uapi::NFTA_CHAIN_NAME => name = Some(attribute.text()),
                uapi::NFTA_CHAIN_HANDLE => chain.handle = attribute.be64()?,
                uapi::NFTA_CHAIN_HOOK => {
                    let (number, priority, devices) = decode_hook(attribute)?;
                    hook = Some((number, priority));
                    chain.devices = devices;
                }
                uapi::NFTA_CHAIN_TYPE => kind = attribute.str()?,
                uapi::NFTA_CHAIN_POLICY => {
                    let drop = attribute.be32()?.cast_signed() == uapi::NF_DROP;
                    policy = Some(if drop { Policy::Drop } else { Policy::Accept });
                }
                uapi::NFTA_CHAIN_FLAGS => {
                    chain.flags = ChainFlags(attribute.be32()? & !uapi::NFT_CHAIN_BASE);
                }
                uapi::NFTA_CHAIN_COUNTERS => chain.counters = Some(Counter::parse(attribute.nested())?),
                uapi::NFTA_CHAIN_USE => chain.references = attribute.be32()?,
                uapi::NFTA_CHAIN_USERDATA => chain.userdata = attribute.value,
                _ => {}
            }
        }
        chain.table = table.ok_or(DecodeError::Missing { attribute: uapi::NFTA_CHAIN_TABLE })?;
        chain.name = name.ok_or(DecodeError::Missing { attribute: uapi::NFTA_CHAIN_NAME })?;
        chain.base = hook.map(|(hook, priority)| BaseChain { kind, hook, priority, policy });
        Ok(chain)
    }

    pub(crate) fn encode(&self, writer: &mut AttrWriter) {
        writer.put_text(uapi::NFTA_CHAIN_TABLE, self.table);
        if !self.name.as_bytes().is_empty() || !self.flags.contains(ChainFlags::BINDING) {
            writer.put_text(uapi::NFTA_CHAIN_NAME, self.name);
        }
        if self.id != 0 {
            writer.put_be32(uapi::NFTA_CHAIN_ID, self.id);
        }
        if let Some(base) = &self.base {
            self.encode_base(base, writer);
        }
        if self.flags != ChainFlags::default() {
            writer.put_be32(uapi::NFTA_CHAIN_FLAGS, self.flags.0);
        }
        if let Some(counters) = &self.counters {
            writer.nest(uapi::NFTA_CHAIN_COUNTERS, |writer| counters.put(writer));
        }
        if !self.userdata.is_empty() {
            writer.put(uapi::NFTA_CHAIN_USERDATA, self.userdata);
        }
    }

    fn encode_base(&self, base: &BaseChain<'_>, writer: &mut AttrWriter) {
        writer.nest(uapi::NFTA_CHAIN_HOOK, |writer| {
            writer.put_be32(uapi::NFTA_HOOK_HOOKNUM, base.hook.number());
            writer.put(uapi::NFTA_HOOK_PRIORITY, &base.priority.to_be_bytes());
            match self.devices.as_slice() {
                [] => {}
                // Before 5.5 there was no list.
                [Device::Name(name)] => writer.put_text(uapi::NFTA_HOOK_DEV, name),
                devices => Device::put_list(writer, uapi::NFTA_HOOK_DEVS, devices),
            }
        });
        if let Some(policy) = base.policy {
            writer.put(uapi::NFTA_CHAIN_POLICY, &policy.verdict().to_be_bytes());
        }
        writer.put_text(uapi::NFTA_CHAIN_TYPE, base.kind);
    }
}

fn decode_hook(attribute: Attr<'_>) -> Result<(Hook, i32, Vec<Device<'_>>), DecodeError> {
    let (mut hook, mut priority, mut device, mut devices) = (None, None, None, Vec::new());
    for attribute in attribute.nested() {
        let attribute = attribute?;
        match attribute.kind {
            uapi::NFTA_HOOK_HOOKNUM => hook = Some(Hook::from_number(attribute.be32()?)),
            uapi::NFTA_HOOK_PRIORITY => priority = Some(attribute.be32()?.cast_signed()),
            uapi::NFTA_HOOK_DEV => device = Some(Device::Name(attribute.text())),
            uapi::NFTA_HOOK_DEVS => devices = Device::decode_list(attribute)?,
            _ => {}
        }
    }
    // The kernel reports a single device as a list, and once more by itself.
    if devices.is_empty() {
        devices.extend(device);
    }
    Ok((
        hook.ok_or(DecodeError::Missing { attribute: uapi::NFTA_HOOK_HOOKNUM })?,
        priority.ok_or(DecodeError::Missing { attribute: uapi::NFTA_HOOK_PRIORITY })?,
        devices,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_bytes, assert_same_message, bytes, message, read};

    /// nft writes type, policy and hook in this order, this crate the other way round.
    #[track_caller]
    fn same(chain: &Chain<'_>, golden: &str) {
        let golden = bytes(golden);
        assert_eq!(Chain::decode(&read(&golden)), Ok(chain.clone()));
        assert_same_message(&message(|batch| batch.add_chain(chain)), &golden);
    }

    #[test]
    fn regular() {
        // add chain inet t other
        let nft = "
            28000000 030a 0104 00000000 00000000  01000000 # NEWCHAIN
              0600 0100 74000000                           # table
              0a00 0300 6f74686572000000                   # name \"other\"
        ";
        let chain = Chain::new(Family::Inet, "t", "other");
        same(&chain, nft);
        assert_bytes(&message(|batch| batch.add_chain(&chain)), &bytes(nft));
    }

    #[test]
    fn base_chain_of_nat() {
        // add chain inet t pre { type nat hook prerouting priority -100; policy accept; }
        let nft = "
            48000000 030a 0104 00000000 00000000  01000000 # NEWCHAIN
              0600 0100 74000000                           # table
              0800 0300 70726500                           # name
              0800 0700 6e617400                           # type
              0800 0500 00000001                           # policy
              1400 0480                                    # hook
                0800 0100 00000000                         # hooknum
                0800 0200 ffffff9c                         # priority
        ";
        let policy = Some(Policy::Accept);
        let base = BaseChain { kind: "nat", hook: Hook::PreRouting, priority: -100, policy };
        same(&Chain { base: Some(base), ..Chain::new(Family::Inet, "t", "pre") }, nft);
    }

    #[test]
    fn base_chain_after_routing() {
        // add chain inet t post { type nat hook postrouting priority 100; policy accept; }
        let nft = "
            4c000000 030a 0104 00000000 00000000  01000000 # NEWCHAIN
              0600 0100 74000000                           # table
              0900 0300 706f737400000000                   # name \"post\"
              0800 0700 6e617400                           # type
              0800 0500 00000001                           # policy
              1400 0480                                    # hook
                0800 0100 00000004                         # hooknum
                0800 0200 00000064                         # priority
        ";
        let policy = Some(Policy::Accept);
        let base = BaseChain { kind: "nat", hook: Hook::PostRouting, priority: 100, policy };
        same(&Chain { base: Some(base), ..Chain::new(Family::Inet, "t", "post") }, nft);
    }

    #[test]
    fn base_chain_that_drops() {
        // add chain inet t mangle { type filter hook prerouting priority mangle; policy drop; }
        let nft = "
            50000000 030a 0104 00000000 00000000  01000000 # NEWCHAIN
              0600 0100 74000000                           # table
              0b00 0300 6d616e676c650000                   # name \"mangle\"
              0b00 0700 66696c7465720000                   # type \"filter\"
              0800 0500 00000000                           # policy
              1400 0480                                    # hook
                0800 0100 00000000                         # hooknum
                0800 0200 ffffff6a                         # priority
        ";
        let policy = Some(Policy::Drop);
        let base = BaseChain { kind: "filter", hook: Hook::PreRouting, priority: -150, policy };
        same(&Chain { base: Some(base), ..Chain::new(Family::Inet, "t", "mangle") }, nft);
    }

    #[test]
    fn base_chain_that_keeps_its_policy() {
        // What nft cannot express: a base chain without a policy attribute.
        let golden = "
            40000000 030a 0104 00000000 00000000  01000000  # NEWCHAIN
              0600 0100 74000000                            # table
              0800 0300 70726500                            # name
              1400 0480                                     # hook
                0800 0100 00000003                          # hooknum
                0800 0200 80000000                          # priority
              0800 0700 6e617400                            # type
        ";
        let base = BaseChain { kind: "nat", hook: Hook::LocalOut, priority: i32::MIN, policy: None };
        same(&Chain { base: Some(base), ..Chain::new(Family::Inet, "t", "pre") }, golden);
    }

    #[test]
    fn delete() {
        // delete chain inet t c
        let nft = "
            24000000 050a 0100 00000000 00000000  01000000 # DELCHAIN
              0600 0100 74000000                           # table
              0600 0300 63000000                           # name
        ";
        assert_bytes(&message(|batch| batch.del_chain(Family::Inet, "t", "c")), &bytes(nft));
    }

    #[test]
    fn a_hook_without_priority_is_refused() {
        let golden = "
            30000000 030a 0000 00000000 00000000  01000000
              0600 0100 74000000
              0600 0300 63000000
              0c00 0480
                0800 0100 00000000
        ";
        let missing = DecodeError::Missing { attribute: uapi::NFTA_HOOK_PRIORITY };
        assert_eq!(Chain::decode(&read(&bytes(golden))), Err(missing));
    }
}
