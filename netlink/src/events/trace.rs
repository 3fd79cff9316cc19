//! What a traced packet meets (`enum nft_trace_attributes`).

use crate::number::kernel_number;
use crate::{DecodeError, Family, Message, Verdict, uapi};

kernel_number! {
    /// What of a packet's way a trace is about (`enum nft_trace_types`).
    TraceKind: u32 {
        /// `NFT_TRACETYPE_POLICY`: the end of a base chain, whose policy decides
        Policy = uapi::NFT_TRACETYPE_POLICY,
        /// `NFT_TRACETYPE_RETURN`: the end of a chain, or a rule that returns
        Return = uapi::NFT_TRACETYPE_RETURN,
        /// `NFT_TRACETYPE_RULE`: a rule with a verdict
        Rule = uapi::NFT_TRACETYPE_RULE,
    }
}

/// A step of a traced packet. Names are bytes as the kernel has them; headers and payloads start at the layer's first byte
/// and may be cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace<'a> {
    /// The family of the table
    pub family: Family,
    /// The packet's number, the same at each of its steps
    pub id: u32,
    /// What the step is
    pub kind: TraceKind,
    /// The table's name
    pub table: &'a [u8],
    /// The chain's name
    pub chain: &'a [u8],
    /// The rule's handle, where it is about one
    pub rule: Option<u64>,
    /// What the rule decides, at a rule or a return
    pub verdict: Option<Verdict<'a>>,
    /// The policy that decides (`NF_DROP` 0 or `NF_ACCEPT` 1), at the end of a base chain
    pub policy: Option<u32>,
    /// The packet's mark
    pub mark: Option<u32>,
    /// The index of the interface that it came in by, with the first step of each packet
    pub iif: Option<u32>,
    /// The index of the interface that it leaves by, with the first step of each packet
    pub oif: Option<u32>,
    /// The link layer's header, with the first step of each packet
    pub link_header: &'a [u8],
    /// The network layer's header, with the first step of each packet
    pub network_header: &'a [u8],
    /// The transport layer's header, with the first step of each packet
    pub transport_header: &'a [u8],
}

impl<'a> Trace<'a> {
    /// Reads a `NFT_MSG_TRACE` message.
    ///
    /// # Errors
    /// The message lacks its number, what it is or a part of its verdict, or has lengths that do not fit.
    pub fn decode(message: &Message<'a>) -> Result<Self, DecodeError> {
        let (mut id, mut kind) = (None, None);
        let mut trace = Self::empty(message.family);
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_TRACE_TABLE => trace.table = name(attribute.value),
                uapi::NFTA_TRACE_CHAIN => trace.chain = name(attribute.value),
                uapi::NFTA_TRACE_RULE_HANDLE => trace.rule = Some(attribute.be64()?),
                uapi::NFTA_TRACE_TYPE => kind = Some(attribute.be32()?),
                uapi::NFTA_TRACE_VERDICT => trace.verdict = Some(Verdict::decode(attribute.nested())?),
                uapi::NFTA_TRACE_ID => id = Some(attribute.be32()?),
                uapi::NFTA_TRACE_LL_HEADER => trace.link_header = attribute.value,
                uapi::NFTA_TRACE_NETWORK_HEADER => trace.network_header = attribute.value,
                uapi::NFTA_TRACE_TRANSPORT_HEADER => trace.transport_header = attribute.value,
                uapi::NFTA_TRACE_IIF => trace.iif = Some(attribute.be32()?),
                uapi::NFTA_TRACE_OIF => trace.oif = Some(attribute.be32()?),
                uapi::NFTA_TRACE_MARK => trace.mark = Some(attribute.be32()?),
                uapi::NFTA_TRACE_POLICY => trace.policy = Some(attribute.be32()?),
                _ => {}
            }
        }
        trace.id = id.ok_or(DecodeError::Missing { attribute: uapi::NFTA_TRACE_ID })?;
        let kind = kind.ok_or(DecodeError::Missing { attribute: uapi::NFTA_TRACE_TYPE })?;
        trace.kind = TraceKind::from_number(kind);
        Ok(trace)
    }

    fn empty(family: Family) -> Self {
        Self {
            family,
            id: 0,
            kind: TraceKind::from_number(0),
            table: &[],
            chain: &[],
            rule: None,
            verdict: None,
            policy: None,
            mark: None,
            iif: None,
            oif: None,
            link_header: &[],
            network_header: &[],
            transport_header: &[],
        }
    }
}

/// A name without the zero at its end.
fn name(value: &[u8]) -> &[u8] {
    value.strip_suffix(&[0]).unwrap_or(value)
}
