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
    /// `NFT_CHAIN_BINDING`: it belongs to the one rule that jumps to it, and goes with that. Only read.
    pub bound: bool,
}

impl<'a> Chain<'a> {
    /// A regular chain.
    #[must_use]
    pub fn new(family: Family, table: &'a str, name: &'a str) -> Self {
        Self { family, table, name, handle: 0, base: None, bound: false }
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
                uapi::NFTA_CHAIN_TABLE => table = Some(attribute.str()?),
                uapi::NFTA_CHAIN_NAME => name = Some(attribute.str()?),
                uapi::NFTA_CHAIN_HANDLE => chain.handle = attribute.be64()?,
                uapi::NFTA_CHAIN_HOOK => hook = Some(decode_hook(attribute.nested())?),
                uapi::NFTA_CHAIN_TYPE => kind = attribute.str()?,
                uapi::NFTA_CHAIN_FLAGS => chain.bound = attribute.be32()? & uapi::NFT_CHAIN_BINDING != 0,
                uapi::NFTA_CHAIN_POLICY => {
                    let drop = attribute.be32()?.cast_signed() == uapi::NF_DROP;
                    policy = Some(if drop { Policy::Drop } else { Policy::Accept });
                }
                _ => {}
            }
        }
        chain.table = table.ok_or(DecodeError::Missing { attribute: uapi::NFTA_CHAIN_TABLE })?;
        chain.name = name.ok_or(DecodeError::Missing { attribute: uapi::NFTA_CHAIN_NAME })?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_bytes, assert_same_message, bytes, message, read};

    /// nft writes type, policy and hook in this order, this crate the other way round.
    #[track_caller]
    fn same(chain: Chain<'_>, golden: &str) {
        let golden = bytes(golden);
        assert_eq!(Chain::decode(&read(&golden)), Ok(chain));
        assert_same_message(&message(|batch| batch.add_chain(&chain)), &golden);
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
        same(chain, nft);
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
        same(Chain { base: Some(base), ..Chain::new(Family::Inet, "t", "pre") }, nft);
    }

    #[test]
    fn base_chain_behind_routing() {
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
        same(Chain { base: Some(base), ..Chain::new(Family::Inet, "t", "post") }, nft);
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
        same(Chain { base: Some(base), ..Chain::new(Family::Inet, "t", "mangle") }, nft);
    }

    #[test]
    fn base_chain_that_keeps_its_policy() {
        // What nft cannot express: a base chain whose policy is not told.
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
        same(Chain { base: Some(base), ..Chain::new(Family::Inet, "t", "pre") }, golden);
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
