//! The devices that a base chain or a flowtable is bound to (`enum nft_devices_attributes`).

use crate::{Attr, AttrWriter, DecodeError, Text, uapi};

/// A device, or all whose names start alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Device<'a> {
    /// The device with this name
    Name(Text<'a>),
    /// Every device whose name starts with this (from 6.17 on)
    Prefix(Text<'a>),
}

impl<'a> Device<'a> {
    /// Reads a list of devices, leaving out what is neither.
    pub(crate) fn decode_list(list: Attr<'a>) -> Result<Vec<Self>, DecodeError> {
        let mut devices = Vec::new();
        for attribute in list.nested() {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_DEVICE_NAME => devices.push(Self::Name(attribute.text())),
                uapi::NFTA_DEVICE_PREFIX => devices.push(Self::Prefix(attribute.text())),
                _ => {}
            }
        }
        Ok(devices)
    }

    /// Writes a list of devices as an attribute of this type.
    pub(crate) fn put_list(writer: &mut AttrWriter, kind: u16, devices: &[Self]) {
        writer.nest(kind, |writer| {
            for device in devices {
                match device {
                    Self::Name(name) => writer.put_text(uapi::NFTA_DEVICE_NAME, name),
                    Self::Prefix(prefix) => writer.put_text(uapi::NFTA_DEVICE_PREFIX, prefix),
                }
            }
        });
    }
}
