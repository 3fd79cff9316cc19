//! Each expression says where it comes from: the kernel's function that reads it, and of which version.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::fs;
use std::path::Path;

#[test]
fn each_expression_names_its_function_and_the_kernel() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/expr");
    let mut files = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let comments: String = text.lines().filter(|line| line.trim_start().starts_with("//")).collect();
        let has_version = comments
            .split("Linux ")
            .skip(1)
            .any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
        let has_function = ["nft_", "nf_", "xt_"].iter().any(|prefix| comments.contains(prefix));
        assert!(has_version && has_function, "{}: {has_version} {has_function}", path.display());
        files += 1;
    }
    assert!(files > 30, "{files}");
}
