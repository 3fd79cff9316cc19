//! Datagrams as a socket receives them: split into messages, read as a dump and as the replies to a transaction.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|datagram: &[u8]| {
    nftwire::fuzzing::dump(datagram);
    nftwire::fuzzing::replies(datagram);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    meshwire_fuzz::mutate(data, size, max_size, seed)
});
