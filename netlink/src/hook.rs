//! The functions that packets pass at netfilter's hooks, whoever registered them (`enum nfnl_hook_attributes`).

use netlink_packet_core::NLM_F_DUMP;

use crate::{Attr, DecodeError, Error, Family, Hook, Message, Socket, Text, uapi};

/// A function at one of netfilter's hooks: that of a base chain, of connection tracking, of a BPF program, …
///
/// `nfnl_hook_dump_one` in net/netfilter/nfnetlink_hook.c (Linux 6.12) reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookFunction<'a> {
    /// The family that was asked for: [`Family::Netdev`] for what is at a device, of whichever family its chain is
    pub family: Family,
    /// When a packet comes to it, the lowest first; equal ones in the order in which they are reported
    pub priority: i32,
    /// The function's name; none where the kernel keeps no names (`CONFIG_KALLSYMS`)
    pub function: Option<Text<'a>>,
    /// The module that it is in; none where it is built in
    pub module: Option<Text<'a>>,
    /// The base chain that it evaluates, where it is nf_tables'
    pub chain: Option<HookChain<'a>>,
}

/// A base chain (`enum nfnl_hook_chain_desc_attributes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookChain<'a> {
    /// The family of its table
    pub family: Family,
    /// The name of its table
    pub table: Text<'a>,
    /// Its name
    pub name: Text<'a>,
}

impl Socket {
    /// Hands every function at a hook to `each`, in the order in which a packet comes to them (from 5.14 on).
    ///
    /// At devices the family is [`Family::Netdev`], the hook's number that of `enum nf_dev_hooks`
    /// ([`uapi::NF_NETDEV_INGRESS`]), and a device has to be named. Elsewhere there is none.
    ///
    /// # Errors
    /// EINVAL where the kernel is older, was built without `CONFIG_NETFILTER_NETLINK_HOOK`, or lacks its module; EPROTONOSUPPORT
    /// and EOPNOTSUPP for families and hooks that it does not have; ENODEV for a device that does not exist, and where one is
    /// missing; those of `each`; [`Error::GenerationChanged`] when functions came or went meanwhile.
    pub fn hook_functions(
        &mut self,
        family: Family,
        hook: Hook,
        device: Option<Text<'_>>,
        mut each: impl FnMut(HookFunction<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (subsystem, kind) = (uapi::NFNL_SUBSYS_HOOK, uapi::NFNL_MSG_HOOK_GET);
        let sequence = self.ask_of(subsystem, kind, NLM_F_DUMP, family, |writer| {
            if let Some(device) = device {
                writer.put_text(uapi::NFNLA_HOOK_DEV, device);
            }
            writer.put_be32(uapi::NFNLA_HOOK_HOOKNUM, hook.number());
        })?;
        self.answers(sequence, false, &mut Vec::new(), |received| {
            received.messages_of(subsystem).try_for_each(|message| each(HookFunction::decode(&message?)?))?;
            Ok(received.into_buffer())
        })
    }
}

impl<'a> HookFunction<'a> {
    /// Reads a `NFNL_MSG_HOOK_GET` message.
    fn decode(message: &Message<'a>) -> Result<Self, DecodeError> {
        let (mut priority, mut function, mut module, mut chain) = (None, None, None, None);
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFNLA_HOOK_PRIORITY => priority = Some(attribute.be32()?.cast_signed()),
                uapi::NFNLA_HOOK_FUNCTION_NAME => function = Some(attribute.text()),
                uapi::NFNLA_HOOK_MODULE_NAME => module = Some(attribute.text()),
                uapi::NFNLA_HOOK_CHAIN_INFO => chain = HookChain::decode(attribute)?,
                _ => {}
            }
        }
        let missing = DecodeError::Missing { attribute: uapi::NFNLA_HOOK_PRIORITY };
        Ok(Self { family: message.family, priority: priority.ok_or(missing)?, function, module, chain })
    }
}

impl<'a> HookChain<'a> {
    /// Reads what a function works on; none where that is no chain.
    fn decode(information: Attr<'a>) -> Result<Option<Self>, DecodeError> {
        let (mut kind, mut description) = (None, None);
        for attribute in information.nested() {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFNLA_HOOK_INFO_TYPE => kind = Some(attribute.be32()?),
                uapi::NFNLA_HOOK_INFO_DESC => description = Some(attribute),
                _ => {}
            }
        }
        let Some(description) = description.filter(|_| kind == Some(uapi::NFNL_HOOK_TYPE_NFTABLES)) else {
            return Ok(None);
        };
        let (mut family, mut table, mut name) = (Family::Unspec, None, None);
        for attribute in description.nested() {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFNLA_CHAIN_FAMILY => family = Family::from_number(attribute.u8()?),
                uapi::NFNLA_CHAIN_TABLE => table = Some(attribute.text()),
                uapi::NFNLA_CHAIN_NAME => name = Some(attribute.text()),
                _ => {}
            }
        }
        Ok(table.zip(name).map(|(table, name)| Self { family, table, name }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AttrReader;
    use crate::testing::bytes;

    /// What Linux 7.3 reports at the input of ARP, after the headers, for the chain of
    /// `table arp a { chain i { type filter hook input priority -7; }; }`.
    const CHAIN: &str = "
        0e00 0500 6e665f7461626c6573000000             # module \"nf_tables\"
        1500 0400 6e66745f646f5f636861696e5f61727000000000 # function \"nft_do_chain_arp\"
        0800 0100 00000000                             # hooknum
        0800 0200 fffffff9                             # priority
        2800 0680                                      # chain info
          0800 0200 00000001                           # type
          1c00 0180                                    # desc
            0600 0100 61000000                         # table
            0600 0300 69000000                         # name
            0500 0200 03000000                         # family
    ";

    fn decode(attributes: &[u8]) -> Result<HookFunction<'_>, DecodeError> {
        let attributes = AttrReader::new(attributes);
        HookFunction::decode(&Message { kind: 0, family: Family::Arp, generation: 0, attributes })
    }

    #[test]
    fn a_base_chain() {
        let function = HookFunction {
            family: Family::Arp,
            priority: -7,
            function: Some("nft_do_chain_arp".into()),
            module: Some("nf_tables".into()),
            chain: Some(HookChain { family: Family::Arp, table: "a".into(), name: "i".into() }),
        };
        assert_eq!(decode(&bytes(CHAIN)), Ok(function));
    }

    #[test]
    fn what_is_no_chain() {
        // A BPF program (from 6.4 on) is described otherwise, and a kernel without names says but the priority.
        let program = CHAIN.replace("0800 0200 00000001   ", "0800 0200 00000002   ");
        assert_eq!(decode(&bytes(&program)).unwrap().chain, None);
        let priority = bytes("0800 0200 7fffffff");
        let bare = HookFunction {
            family: Family::Arp,
            priority: i32::MAX,
            function: None,
            module: None,
            chain: None,
        };
        assert_eq!(decode(&priority), Ok(bare));
        let missing = DecodeError::Missing { attribute: uapi::NFNLA_HOOK_PRIORITY };
        assert_eq!(decode(&[]), Err(missing));
    }
}
