//! The expression `queue`: its fields, its attributes, and the bytes that nft sends for it.

use super::register;
use crate::{AttrReader, AttrWriter, DecodeError, Register, uapi};

/// Which queue a packet goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueNumber {
    /// One of `total` queues from `first` on
    Range {
        /// The first queue's number
        first: u16,
        /// How many queues there are
        total: u16,
    },
    /// The one whose number is in this register, in host order; four bytes are read (`nft_queue_sreg_eval`; from 4.10
    /// on)
    Register(Register),
}

/// Hands the packet to a program that decides about it (nfnetlink_queue).
///
/// `nft_queue_init` or `nft_queue_sreg_init` in net/netfilter/nft_queue.c (Linux 6.12) reads it: `total` from 1 on
/// (EINVAL), the last queue up to 65535 (ERANGE), no fanout with a register (EOPNOTSUPP). `nft_queue_validate` has the
/// families (ip, ip6, inet and bridge).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Which queue
    pub number: QueueNumber,
    /// `NFT_QUEUE_FLAG_*`
    pub flags: u16,
}

impl Queue {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        match self.number {
            QueueNumber::Range { first, total } => {
                writer.put_be16(uapi::NFTA_QUEUE_NUM, first);
                writer.put_be16(uapi::NFTA_QUEUE_TOTAL, total);
            }
            QueueNumber::Register(sreg) => writer.put_be32(uapi::NFTA_QUEUE_SREG_QNUM, sreg.number()),
        }
        if self.flags != 0 {
            writer.put_be16(uapi::NFTA_QUEUE_FLAGS, self.flags);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'_>) -> Result<Self, DecodeError> {
        let (mut first, mut total, mut sreg, mut flags) = (0, 1, None, 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_QUEUE_NUM => first = attribute.be16()?,
                uapi::NFTA_QUEUE_TOTAL => total = attribute.be16()?,
                uapi::NFTA_QUEUE_SREG_QNUM => sreg = Some(register(attribute)?),
                uapi::NFTA_QUEUE_FLAGS => flags = attribute.be16()?,
                _ => {}
            }
        }
        let number = sreg.map_or(QueueNumber::Range { first, total }, QueueNumber::Register);
        Ok(Self { number, flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn one() {
        // queue to 3
        // [ queue num 3 ]
        let nft = "
            2400 0180                    # element
              0a00 0100 7175657565000000 # name \"queue\"
              1400 0280                  # data queue
                0600 0100 00030000       # num
                0600 0200 00010000       # total
        ";
        let expression = Queue { number: QueueNumber::Range { first: 3, total: 1 }, flags: 0 };
        same(expression, nft);
    }

    #[test]
    fn several() {
        // queue flags bypass,fanout to 0-3
        // [ queue num 0-3 bypass fanout ]
        let nft = "
            2c00 0180                    # element
              0a00 0100 7175657565000000 # name \"queue\"
              1c00 0280                  # data queue
                0600 0100 00000000       # num
                0600 0200 00040000       # total
                0600 0300 00030000       # flags
        ";
        let flags = uapi::NFT_QUEUE_FLAG_BYPASS | uapi::NFT_QUEUE_FLAG_CPU_FANOUT;
        let expression = Queue { number: QueueNumber::Range { first: 0, total: 4 }, flags };
        same(expression, nft);
    }

    #[test]
    fn of_a_register() {
        // queue to numgen inc mod 4
        // [ queue sreg_qnum 1 ]
        let nft = "
            1c00 0180                    # element
              0a00 0100 7175657565000000 # name \"queue\"
              0c00 0280                  # data queue
                0800 0400 00000001       # sreg_qnum
        ";
        let expression = Queue { number: QueueNumber::Register(Register::R1), flags: 0 };
        same(expression, nft);
    }
}
