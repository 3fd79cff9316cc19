//! What the replies to a transaction say together.

use crate::message::Datagram;
use crate::reply::Reply;
use crate::socket::NLMSG_ERROR;
use crate::{Batch, DecodeError, Location, Refusal};

/// What the replies to a transaction come to.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The refusal of the first message that failed (later ones are its consequence), its number among
    /// the objects, and the offset into it that the kernel reports
    refusal: Option<(Option<usize>, Refusal, Option<usize>)>,
    /// Whether the last object was answered with success
    pub(crate) confirmed: bool,
    /// Whether replies were lost
    pub(crate) overrun: bool,
}

impl Outcome {
    /// Adds the replies in a datagram to the messages numbered from `first` (BATCH_BEGIN) on.
    pub(crate) fn read(&mut self, datagram: &[u8], first: u32, messages: usize) -> Result<(), DecodeError> {
        for header in Datagram(datagram) {
            let header = header?;
            if header.nlmsg_type == NLMSG_ERROR {
                self.add(&Reply::decode(&header)?, first, messages);
            }
        }
        Ok(())
    }

    /// The refusal, with the place in the batch that it is about.
    pub(crate) fn into_refusal(self, batch: &Batch) -> Option<Refusal> {
        let (message, mut refusal, offset) = self.refusal?;
        if let (Some(message), Some(offset)) = (message, offset) {
            refusal.location = batch.locate(message, offset);
        }
        Some(refusal)
    }

    fn add(&mut self, reply: &Reply<'_>, first: u32, messages: usize) {
        let Ok(number) = usize::try_from(reply.sequence.wrapping_sub(first)) else { return };
        if number > messages + 1 {
            return; // a reply to something older
        }
        if reply.errno == 0 {
            self.confirmed |= number == messages;
            return;
        }
        // Number 0 is BATCH_BEGIN: the whole transaction; the last one is BATCH_END, likewise.
        let message = number.checked_sub(1).filter(|&message| message < messages);
        if self.refusal.as_ref().is_none_or(|(lowest, ..)| message < *lowest) {
            let refusal = Refusal {
                message,
                errno: reply.errno,
                location: Location::default(),
                text: reply.text.map(str::to_owned),
            };
            self.refusal = Some((message, refusal, reply.offset));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u32 = u32::MAX - 1;

    /// What replies to a transaction of three objects come to: each the number of a message from BATCH_BEGIN (0) to
    /// BATCH_END (4), and an errno.
    fn outcome(replies: &[(u32, i32)]) -> Outcome {
        let mut outcome = Outcome::default();
        for &(number, errno) in replies {
            let sequence = FIRST.wrapping_add(number);
            outcome.add(&Reply { sequence, errno, text: None, offset: None }, FIRST, 3);
        }
        outcome
    }

    fn refused(replies: &[(u32, i32)]) -> Option<(Option<usize>, i32)> {
        outcome(replies).refusal.map(|(message, refusal, _)| {
            assert_eq!(message, refusal.message);
            (message, refusal.errno)
        })
    }

    #[test]
    fn the_last_objects_success_is_the_transactions() {
        assert!(outcome(&[(3, 0)]).confirmed);
        assert!(outcome(&[(3, 0), (4, 0)]).confirmed);
        for nothing in [&[][..], &[(1, 0)], &[(2, 0)], &[(4, 0)], &[(3, 2)]] {
            assert!(!outcome(nothing).confirmed, "{nothing:?}");
        }
        assert_eq!(refused(&[(3, 0)]), None);
    }

    #[test]
    fn the_lowest_message_is_the_refused_one() {
        assert_eq!(refused(&[(1, 2), (2, 22)]), Some((Some(0), 2)));
        assert_eq!(refused(&[(3, 0), (2, 22), (1, 2)]), Some((Some(0), 2)));
        // The first reply to a message is the one that counts.
        assert_eq!(refused(&[(2, 22), (2, 2)]), Some((Some(1), 22)));
    }

    #[test]
    fn errors_of_batch_begin_and_batch_end_concern_the_transaction() {
        assert_eq!(refused(&[(0, 1)]), Some((None, 1)));
        assert_eq!(refused(&[(4, 1)]), Some((None, 1)));
        assert_eq!(refused(&[(1, 2), (0, 85)]), Some((None, 85)));
    }

    #[test]
    fn answers_to_something_else_are_not_counted() {
        assert_eq!(refused(&[(5, 2), (u32::MAX, 2), (1 << 31, 2)]), None);
        assert!(!outcome(&[(5, 0), (u32::MAX, 0)]).confirmed);
    }
}
