//! Chains (`enum nft_chain_attributes`).

use crate::{AttrReader, AttrWriter, DecodeError, Family, Message, uapi};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl<'a> Chain<'a> {
    /// A regular chain.
    #[must_use]
    pub fn new(family: Family, table: &'a str, name: &'a str) -> Self {
        Self { family, table, name, handle: 0, base: None }
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
                uapi::NFTA_CHAIN_HOOK => hook = Some(decode_hook(attribute.nested())?),
                uapi::NFTA_CHAIN_TYPE => kind = attribute.str()?,
                uapi::NFTA_CHAIN_POLICY => {
                    let drop = attribute.be32()?.cast_signed() == uapi::NF_DROP;
                    policy = Some(if drop { Policy::Drop } else { Policy::Accept });
                }
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
        let Some(base) = &self.base else { return };
        writer.nest(uapi::NFTA_CHAIN_HOOK, |writer| {
            writer.put_be32(uapi::NFTA_HOOK_HOOKNUM, base.hook.number());
            writer.put(uapi::NFTA_HOOK_PRIORITY, &base.priority.to_be_bytes());
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

fn decode_hook(attributes: AttrReader<'_>) -> Result<(Hook, i32), DecodeError> {
    let (mut hook, mut priority) = (None, None);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            uapi::NFTA_HOOK_HOOKNUM => hook = Some(Hook::from_number(attribute.be32()?)),
            uapi::NFTA_HOOK_PRIORITY => priority = Some(attribute.be32()?.cast_signed()),
            _ => {}
        }
    }
    Ok((
        hook.ok_or(DecodeError::Missing { attribute: uapi::NFTA_HOOK_HOOKNUM })?,
        priority.ok_or(DecodeError::Missing { attribute: uapi::NFTA_HOOK_PRIORITY })?,
    ))
}
