//! Lists of ports, numbers, networks and durations, as flags and variables have them.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| meshwire::cli::fuzzing::lists(text));
