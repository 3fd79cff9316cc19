//! resolv.conf, passwd and group. The first line is the name that is looked up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meshwire::cli::fuzzing::{account, name_servers};

fuzz_target!(|text: &str| {
    let servers = name_servers(text);
    let written: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    assert_eq!(name_servers(&written), servers);

    let (name, file) = text.split_once('\n').unwrap_or((text, ""));
    if let Some(id) = account(file, name) {
        assert_eq!(account(&format!("{name}:x:{id}:"), name), Some(id));
    }
});
