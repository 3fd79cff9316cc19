//! The expression `log`: its fields, its attributes, and the bytes that nft sends for it.

use crate::number::kernel_number;
use crate::{AttrReader, AttrWriter, DecodeError, Text, uapi};

kernel_number! {
    /// How urgent a [`Log`] is (`enum nft_log_level`; those of syslog(2) but for the last one).
    LogLevel: u32 {
        /// `emerg`
        Emergency = 0,
        /// `alert`
        Alert = 1,
        /// `crit`
        Critical = 2,
        /// `err`
        Error = 3,
        /// `warn`, the kernel's default
        Warning = 4,
        /// `notice`
        Notice = 5,
        /// `info`
        Info = 6,
        /// `debug`
        Debug = 7,
        /// `audit`: an audit record instead of a line in the kernel's log (from 4.18 on)
        Audit = 8,
    }
}

/// Logs the packet: to the kernel's log, or, with a `group`, to a program that listens there (nfnetlink_log).
///
/// `nft_log_init` in net/netfilter/nft_log.c (Linux 6.12) reads it and refuses a level or flags with a `group`
/// (EINVAL); `nft_log_policy` has the length of the prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log<'a> {
    /// The prefix: up to 127 bytes
    pub prefix: Option<Text<'a>>,
    /// How urgent it is; not with a `group`
    pub level: Option<LogLevel>,
    /// `NF_LOG_*`: what is logged besides; not with a `group`
    pub flags: u32,
    /// The group that gets it
    pub group: Option<u16>,
    /// Bytes of the packet that the group gets
    pub snaplen: Option<u32>,
    /// How many packets are collected before the group gets them
    pub queue_threshold: Option<u16>,
}

impl<'a> Log<'a> {
    pub(super) fn put(&self, writer: &mut AttrWriter) {
        if let Some(prefix) = self.prefix {
            writer.put_text(uapi::NFTA_LOG_PREFIX, prefix);
        }
        if let Some(group) = self.group {
            writer.put_be16(uapi::NFTA_LOG_GROUP, group);
        }
        if let Some(snaplen) = self.snaplen {
            writer.put_be32(uapi::NFTA_LOG_SNAPLEN, snaplen);
        }
        if let Some(queue_threshold) = self.queue_threshold {
            writer.put_be16(uapi::NFTA_LOG_QTHRESHOLD, queue_threshold);
        }
        if let Some(level) = self.level {
            writer.put_be32(uapi::NFTA_LOG_LEVEL, level.number());
        }
        if self.flags != 0 {
            writer.put_be32(uapi::NFTA_LOG_FLAGS, self.flags);
        }
    }

    pub(super) fn parse(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let mut expression = Self::default();
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_LOG_PREFIX => expression.prefix = Some(attribute.text()),
                uapi::NFTA_LOG_GROUP => expression.group = Some(attribute.be16()?),
                uapi::NFTA_LOG_SNAPLEN => expression.snaplen = Some(attribute.be32()?),
                uapi::NFTA_LOG_QTHRESHOLD => expression.queue_threshold = Some(attribute.be16()?),
                uapi::NFTA_LOG_LEVEL => {
                    expression.level = Some(LogLevel::from_number(attribute.be32()?));
                }
                uapi::NFTA_LOG_FLAGS => expression.flags = attribute.be32()?,
                _ => {}
            }
        }
        Ok(expression)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn plain() {
        // log
        // [ log ]
        let nft = "
            1000 0180            # element
              0800 0100 6c6f6700 # name \"log\"
              0400 0280          # data log
        ";
        same(Log::default(), nft);
    }

    #[test]
    fn to_the_kernel_log() {
        // log prefix "dropped " level warn flags tcp sequence,options flags skuid
        // [ log prefix dropped level 4 tcpseq tcpopt uid ]
        let nft = "
            3000 0180                              # element
              0800 0100 6c6f6700                   # name \"log\"
              2400 0280                            # data log
                0d00 0200 64726f707065642000000000 # prefix \"dropped \"
                0800 0500 00000004                 # level
                0800 0600 0000000b                 # flags
        ";
        let flags = uapi::NF_LOG_TCPSEQ | uapi::NF_LOG_TCPOPT | uapi::NF_LOG_UID;
        let expression =
            Log { prefix: Some("dropped ".into()), level: Some(LogLevel::Warning), flags, ..Log::default() };
        same(expression, nft);
    }

    #[test]
    fn to_a_group() {
        // log group 5 prefix "x" snaplen 64 queue-threshold 10
        // [ log prefix x group 5 snaplen 64 qthreshold 10 ]
        let nft = "
            3000 0180              # element
              0800 0100 6c6f6700   # name \"log\"
              2400 0280            # data log
                0600 0200 78000000 # prefix \"x\"
                0600 0100 00050000 # group
                0800 0300 00000040 # snaplen
                0600 0400 000a0000 # qthreshold
        ";
        let expression = Log {
            prefix: Some("x".into()),
            group: Some(5),
            snaplen: Some(64),
            queue_threshold: Some(10),
            ..Log::default()
        };
        same(expression, nft);
    }

    #[test]
    fn to_the_audit() {
        // log level audit
        // [ log level 8 ]
        let nft = "
            1800 0180              # element
              0800 0100 6c6f6700   # name \"log\"
              0c00 0280            # data log
                0800 0500 00000008 # level
        ";
        same(Log { level: Some(LogLevel::Audit), ..Log::default() }, nft);
    }
}
