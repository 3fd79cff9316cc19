//! The messages (package `istio.workload.zds`, proto3) and their bytes.
//!
//! Six messages of strings and one number do not need a code generator: the encoding is that of
//! <https://protobuf.dev/programming-guides/encoding/>. Fields that a newer ztunnel adds are skipped.

/// Both sides read with a buffer of this many bytes, and a packet that does not fit is an error.
pub const MAX_PACKET: usize = 1024;

/// `Version.V1` of `ZdsHello`.
const VERSION_1: u64 = 1;

/// Who a workload is; ztunnel looks its identity up by these names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The pod's name
    pub name: String,
    /// The pod's namespace
    pub namespace: String,
    /// The pod's service account
    pub service_account: String,
}

/// What the agent asks of ztunnel (`WorkloadRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Start a proxy in the pod's network namespace, which travels with the packet as one descriptor
    Add {
        /// The pod's UID
        uid: String,
        /// The pod
        workload: Workload,
    },
    /// Keep the proxy of a pod whose namespace is not known now; only before [`Request::SnapshotSent`]
    Keep {
        /// The pod's UID
        uid: String,
    },
    /// Stop the pod's proxy
    Del {
        /// The pod's UID
        uid: String,
    },
    /// Stop every proxy that this connection has neither added nor kept; once per connection
    SnapshotSent,
}

/// ztunnel's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It did what was asked
    Accepted,
    /// It could not, and says why; the connection stays
    Refused(String),
}

/// A request does not fit a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request has {length} bytes; ztunnel reads at most {MAX_PACKET}")]
pub struct TooLong {
    /// In bytes
    pub length: usize,
}

/// Why a packet of ztunnel's cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A field goes on after the packet's end
    #[error("the packet ends inside a field")]
    Truncated,
    /// A number of more than 64 bits
    #[error("a number has more than 64 bits")]
    Number,
    /// A wire type that proto3 does not have
    #[error("field {field} has the unknown wire type {wire_type}")]
    WireType {
        /// Its number
        field: u64,
        /// Its wire type
        wire_type: u64,
    },
    /// A field of ours is not of the type that it should be
    #[error("field {field} of {message} has another type")]
    FieldType {
        /// Its number
        field: u64,
        /// The message
        message: &'static str,
    },
    /// The response holds nothing that is known
    #[error("the response holds no acknowledgement")]
    NoAck,
    /// The text is not UTF-8
    #[error("the error text is not UTF-8")]
    Text,
    /// ztunnel speaks another version
    #[error("ztunnel speaks version {version} of the protocol; only version 1 is known")]
    Version {
        /// The number in its hello
        version: u64,
    },
}

impl Request {
    /// The packet.
    ///
    /// # Errors
    /// It would be longer than [`MAX_PACKET`].
    pub fn encode(&self) -> Result<Vec<u8>, TooLong> {
        let (field, payload) = match self {
            Self::Add { uid, workload } => {
                let Workload { name, namespace, service_account } = workload;
                let mut info = Vec::new();
                for (field, text) in [(1, name), (2, namespace), (3, service_account)] {
                    put_string(&mut info, field, text);
                }
                let mut add = Vec::new();
                put_string(&mut add, 1, uid);
                // ztunnel requires it, so it is sent even if all names are empty.
                put_bytes(&mut add, 2, &info);
                (1, add)
            }
            Self::Del { uid } => (2, only_string(2, uid)),
            Self::SnapshotSent => (3, Vec::new()),
            Self::Keep { uid } => (5, only_string(1, uid)),
        };
        let mut packet = Vec::new();
        put_bytes(&mut packet, field, &payload);
        match packet.len() {
            0..=MAX_PACKET => Ok(packet),
            length => Err(TooLong { length }),
        }
    }

    /// The pod that it is about, by its UID.
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        match self {
            Self::Add { uid, .. } | Self::Keep { uid } | Self::Del { uid } => Some(uid),
            Self::SnapshotSent => None,
        }
    }
}

/// Reads ztunnel's first packet, `ZdsHello`.
///
/// # Errors
/// It is none, or of another version.
pub(super) fn decode_hello(packet: &[u8]) -> Result<(), DecodeError> {
    let mut version = 0;
    each_field(packet, |field, value| match (field, value) {
        (1, Value::Number(number)) => {
            version = number;
            Ok(())
        }
        (1, _) => Err(DecodeError::FieldType { field, message: "ZdsHello" }),
        _ => Ok(()),
    })?;
    if version == VERSION_1 { Ok(()) } else { Err(DecodeError::Version { version }) }
}

/// Reads a `WorkloadResponse`.
///
/// # Errors
/// It is none, or holds no acknowledgement.
pub(super) fn decode_response(packet: &[u8]) -> Result<Ack, DecodeError> {
    let mut ack = None;
    each_field(packet, |field, value| match (field, value) {
        (1, Value::Bytes(bytes)) => {
            ack = Some(decode_ack(bytes)?);
            Ok(())
        }
        (1, _) => Err(DecodeError::FieldType { field, message: "WorkloadResponse" }),
        _ => Ok(()),
    })?;
    ack.ok_or(DecodeError::NoAck)
}

fn decode_ack(message: &[u8]) -> Result<Ack, DecodeError> {
    let mut error = "";
    each_field(message, |field, value| match (field, value) {
        (1, Value::Bytes(bytes)) => {
            error = str::from_utf8(bytes).map_err(|_| DecodeError::Text)?;
            Ok(())
        }
        (1, _) => Err(DecodeError::FieldType { field, message: "Ack" }),
        _ => Ok(()),
    })?;
    Ok(if error.is_empty() { Ack::Accepted } else { Ack::Refused(error.to_owned()) })
}

fn only_string(field: u8, text: &str) -> Vec<u8> {
    let mut message = Vec::new();
    put_string(&mut message, field, text);
    message
}

/// proto3 leaves out what is empty.
fn put_string(message: &mut Vec<u8>, field: u8, text: &str) {
    if !text.is_empty() {
        put_bytes(message, field, text.as_bytes());
    }
}

/// A field of wire type 2; the field numbers here are below 16 and take one byte.
fn put_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    let mut length = bytes.len();
    while length > 0x7f {
        message.push(low_bits(length) | 0x80);
        length >>= 7;
    }
    message.push(low_bits(length));
    message.extend_from_slice(bytes);
}

/// The lowest seven bits.
fn low_bits(number: usize) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes; nothing here has such
    Fixed,
}

fn each_field<'a>(
    mut rest: &'a [u8],
    mut found: impl FnMut(u64, Value<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while !rest.is_empty() {
        let tag = number(&mut rest)?;
        let (field, wire_type) = (tag >> 3, tag & 7);
        let value = match wire_type {
            0 => Value::Number(number(&mut rest)?),
            1 => take(&mut rest, 8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(number(&mut rest)?).map_err(|_| DecodeError::Truncated)?;
                Value::Bytes(take(&mut rest, length)?)
            }
            5 => take(&mut rest, 4).map(|_| Value::Fixed)?,
            wire_type => return Err(DecodeError::WireType { field, wire_type }),
        };
        found(field, value)?;
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, after) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
    *rest = after;
    Ok(taken)
}

/// A varint: seven bits a byte, the lowest first.
fn number(rest: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if shift == 63 && bits > 1 {
            break;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(DecodeError::Number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
    }

    fn add(uid: &str, name: &str) -> Request {
        let workload = Workload {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            service_account: "sa-a".to_owned(),
        };
        Request::Add { uid: uid.to_owned(), workload }
    }

    /// The bytes were seen between istio's agent and a real ztunnel.
    #[test]
    fn requests_are_the_bytes_that_a_real_ztunnel_takes() {
        for (request, hex) in [
            (
                add("uid-a", "poda"),
                "0a1e 0a05 7569642d61 1215 0a04 706f6461 1207 64656661756c74 1a04 73612d61",
            ),
            (Request::Keep { uid: "never-seen".to_owned() }, "2a0c 0a0a 6e657665722d7365656e"),
            (Request::Del { uid: "uid-b".to_owned() }, "1207 1205 7569642d62"),
            (Request::SnapshotSent, "1a00"),
        ] {
            assert_eq!(request.encode(), Ok(bytes(hex)), "{request:?}");
        }
    }

    #[test]
    fn lengths_from_128_take_two_bytes() {
        let packet = Request::Del { uid: "u".repeat(200) }.encode().unwrap();
        assert_eq!(packet[..6], bytes("12 cb01 12 c801"));
        assert_eq!(packet.len(), 206);
    }

    #[test]
    fn a_request_longer_than_ztunnels_buffer_is_refused() {
        let fits = add("u", &"n".repeat(1024 - 27));
        assert_eq!(fits.encode().map(|packet| packet.len()), Ok(1024));
        assert_eq!(add("u", &"n".repeat(1024 - 26)).encode(), Err(TooLong { length: 1025 }));
    }

    #[test]
    fn hello_of_version_1() {
        assert_eq!(decode_hello(&bytes("0801")), Ok(()));
        assert_eq!(
            decode_hello(&bytes("0801 1203 616263 1d 01020304")),
            Ok(()),
            "with fields of a newer version"
        );
        for (hex, error) in [
            ("", DecodeError::Version { version: 0 }),
            ("0802", DecodeError::Version { version: 2 }),
            ("08", DecodeError::Truncated),
            ("0a00", DecodeError::FieldType { field: 1, message: "ZdsHello" }),
            ("0801 13", DecodeError::WireType { field: 2, wire_type: 3 }),
            ("08 ffffffffffffffffff 02", DecodeError::Number),
        ] {
            assert_eq!(decode_hello(&bytes(hex)), Err(error), "{hex}");
        }
    }

    #[test]
    fn acknowledgements() {
        assert_eq!(decode_response(&bytes("0a00")), Ok(Ack::Accepted));
        assert_eq!(decode_response(&bytes("0a04 0a02 6e6f")), Ok(Ack::Refused("no".to_owned())));
        for (hex, error) in [
            ("", DecodeError::NoAck),
            ("1200", DecodeError::NoAck),
            ("0801", DecodeError::FieldType { field: 1, message: "WorkloadResponse" }),
            ("0a02 0801", DecodeError::FieldType { field: 1, message: "Ack" }),
            ("0a03 0a01 ff", DecodeError::Text),
            ("0a05 0a02", DecodeError::Truncated),
        ] {
            assert_eq!(decode_response(&bytes(hex)), Err(error), "{hex}");
        }
    }

    proptest! {
        #[test]
        fn no_packet_is_too_odd_to_be_read(packet in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_hello(&packet);
            let _ = decode_response(&packet);
        }
    }
}
