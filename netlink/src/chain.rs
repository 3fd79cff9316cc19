//! Chains (`enum nft_chain_attributes`).

use crate::expr::Counter;
use crate::{Attr, AttrWriter, DecodeError, Device, Family, Message, uapi};

/// Where a base chain meets packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// `NF_INET_PRE_ROUTING`
    PreRouting,
    /// `NF_INET_LOCAL_IN`
    LocalIn,
    /// `NF_INET_FORWARD`
    Forward,
    /// `NF_INET_LOCAL_OUT`
    LocalOut,
    /// `NF_INET_POST_ROUTING`
    PostRouting,
    /// Any other number: what it means depends on the family (`NF_INET_INGRESS`, `NF_NETDEV_EGRESS`, …)
    Other(u32),
}

impl Hook {
    /// The hook with this number in the families inet, ip, ip6 and bridge.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        match number {
            uapi::NF_INET_PRE_ROUTING => Self::PreRouting,
            uapi::NF_INET_LOCAL_IN => Self::LocalIn,
            uapi::NF_INET_FORWARD => Self::Forward,
            uapi::NF_INET_LOCAL_OUT => Self::LocalOut,
            uapi::NF_INET_POST_ROUTING => Self::PostRouting,
            number => Self::Other(number),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::PreRouting => uapi::NF_INET_PRE_ROUTING,
            Self::LocalIn => uapi::NF_INET_LOCAL_IN,
            Self::Forward => uapi::NF_INET_FORWARD,
            Self::LocalOut => uapi::NF_INET_LOCAL_OUT,
            Self::PostRouting => uapi::NF_INET_POST_ROUTING,
            Self::Other(number) => number,
        }
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

/// A chain's flags, but for `NFT_CHAIN_BASE`, which goes without saying.
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
    pub table: &'a str,
    /// Its name: 1 to 255 bytes
    pub name: &'a str,
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
    /// How many rules, jumps and elements it has or is the goal of, as the kernel tells
    pub references: u32,
    /// Bytes that the kernel keeps for user space, such as nft's comment
    pub userdata: &'a [u8],
}

impl<'a> Chain<'a> {
    /// A regular chain.
    #[must_use]
    pub fn new(family: Family, table: &'a str, name: &'a str) -> Self {
        Self {
            family,
            table,
            name,
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
        let (mut hook, mut kind, mut policy) = (None, "", None);
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_CHAIN_TABLE => chain.table = attribute.str()?,
                uapi::NFTA_CHAIN_NAME => chain.name = attribute.str()?,
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
        for (name, attribute) in [(chain.table, uapi::NFTA_CHAIN_TABLE), (chain.name, uapi::NFTA_CHAIN_NAME)]
        {
            if name.is_empty() {
                return Err(DecodeError::Missing { attribute });
            }
        }
        chain.base = hook.map(|(hook, priority)| BaseChain { kind, hook, priority, policy });
        Ok(chain)
    }

    pub(crate) fn encode(&self, writer: &mut AttrWriter) {
        writer.put_str(uapi::NFTA_CHAIN_TABLE, self.table);
        writer.put_str(uapi::NFTA_CHAIN_NAME, self.name);
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
                [Device::Name(name)] => writer.put_str(uapi::NFTA_HOOK_DEV, name),
                devices => Device::put_list(writer, uapi::NFTA_HOOK_DEVS, devices),
            }
        });
        if let Some(policy) = base.policy {
            let verdict = match policy {
                Policy::Drop => uapi::NF_DROP,
                Policy::Accept => uapi::NF_ACCEPT,
            };
            writer.put(uapi::NFTA_CHAIN_POLICY, &verdict.to_be_bytes());
        }
        writer.put_str(uapi::NFTA_CHAIN_TYPE, base.kind);
    }
}

fn decode_hook(attribute: Attr<'_>) -> Result<(Hook, i32, Vec<Device<'_>>), DecodeError> {
    let (mut hook, mut priority, mut device, mut devices) = (None, None, None, Vec::new());
    for attribute in attribute.nested() {
        let attribute = attribute?;
        match attribute.kind {
            uapi::NFTA_HOOK_HOOKNUM => hook = Some(Hook::from_number(attribute.be32()?)),
            uapi::NFTA_HOOK_PRIORITY => priority = Some(attribute.be32()?.cast_signed()),
            uapi::NFTA_HOOK_DEV => device = Some(Device::Name(attribute.str()?)),
            uapi::NFTA_HOOK_DEVS => devices = Device::decode_list(attribute)?,
            _ => {}
        }
    }
    // A single device is told as a list, and once more by itself.
    if devices.is_empty() {
        devices.extend(device);
    }
    Ok((
        hook.ok_or(DecodeError::Missing { attribute: uapi::NFTA_HOOK_HOOKNUM })?,
        priority.ok_or(DecodeError::Missing { attribute: uapi::NFTA_HOOK_PRIORITY })?,
        devices,
    ))
}
