//! Mutations that keep netlink's lengths right, so that hostile values get as deep as the decompiler; the lengths that
//! lie come from libFuzzer's own mutations, which every second input gets.

use libfuzzer_sys::fuzzer_mutate;

/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 20;
const ATTRIBUTE: usize = 4;
/// How deep attributes are looked for in attributes.
const DEPTH: u32 = 12;

/// Changes the input in its first `size` bytes; returns how long it is now, at most `max_size`.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random(u64::from(seed) | 1 << 40);
    if random.below(2) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut messages = split_messages(&data[..size]);
    if messages.is_empty() {
        return fuzzer_mutate(data, size, max_size);
    }
    let chosen = random.below(messages.len());
    match random.below(12) {
        0 if messages.len() > 1 => drop(messages.remove(chosen)),
        1 => messages.push(messages[chosen].clone()),
        2 if messages.len() > 1 => messages.swap(0, chosen),
        _ => {
            let body = messages[chosen].split_off(HEADERS);
            let body = attributes(body, DEPTH, &mut random);
            messages[chosen].extend(body);
        }
    }
    let mut out = Vec::with_capacity(size + 64);
    for mut message in messages {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message.resize(message.len().next_multiple_of(4), 0);
        out.extend(message);
    }
    if out.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..out.len()].copy_from_slice(&out);
    out.len()
}

fn split_messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some(length) = bytes.first_chunk::<4>() {
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
        let Some(message) = bytes.get(..length).filter(|_| length >= HEADERS) else { break };
        messages.push(message.to_vec());
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

/// Changes one attribute, or one inside it.
fn attributes(bytes: Vec<u8>, depth: u32, random: &mut Random) -> Vec<u8> {
    let Some(mut list) = split_attributes(&bytes) else { return value(bytes) };
    let chosen = random.below(list.len());
    match random.below(10) {
        0 => drop(list.remove(chosen)),
        1 => {
            let copy = list[chosen].clone();
            list.insert(random.below(list.len() + 1), copy);
        }
        2 => {
            let other = random.below(list.len());
            list.swap(chosen, other);
        }
        3 => list[chosen].0 = u16::try_from(random.below(24)).unwrap_or(0) | (list[chosen].0 & 0x8000),
        _ => {
            let inside = std::mem::take(&mut list[chosen].1);
            list[chosen].1 = if depth == 0 { value(inside) } else { attributes(inside, depth - 1, random) };
        }
    }
    let mut out = Vec::with_capacity(bytes.len() + 64);
    for (kind, value) in list {
        let length = u16::try_from(value.len() + ATTRIBUTE).unwrap_or(u16::MAX);
        out.extend(length.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// The attributes, if the bytes are nothing else.
fn split_attributes(mut bytes: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
    let mut list = Vec::new();
    while !bytes.is_empty() {
        let &[l0, l1, k0, k1] = bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        list.push((u16::from_ne_bytes([k0, k1]), bytes.get(ATTRIBUTE..length)?.to_vec()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    (!list.is_empty()).then_some(list)
}

fn value(mut bytes: Vec<u8>) -> Vec<u8> {
    let size = bytes.len();
    let max = size + 16;
    bytes.resize(max, 0);
    let size = fuzzer_mutate(&mut bytes, size, max);
    bytes.truncate(size);
    bytes
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % limit.max(1)
    }
}
