//! What nft keeps in a rule's, a set's and an element's userdata.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nftwire::userdata::{ElementUserdata, Entries, SetUserdata, comment};

fuzz_target!(|bytes: &[u8]| {
    let _ = comment(bytes);
    for entry in Entries::new(bytes) {
        let _ = (entry.text(), entry.number(), entry.entries().count());
    }
    let element = ElementUserdata::decode(bytes);
    if let Ok(written) = element.encode() {
        assert_eq!(ElementUserdata::decode(&written), element);
    }
    let set = SetUserdata::decode(bytes);
    if let Ok(written) = set.encode() {
        assert_eq!(SetUserdata::decode(&written), set);
    }
});
