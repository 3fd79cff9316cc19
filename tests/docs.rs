//! The documentation: every link leads somewhere, and every page is in the table of contents.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// All pages of the repository.
fn pages() -> Vec<PathBuf> {
    let folders = ["", "docs", "deploy", "netlink", "ruleset", "cni", "agent", "vm-tests", "fuzz"];
    let folders = folders.iter().map(|folder| Path::new(ROOT).join(folder));
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let mut pages: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    pages.sort();
    pages
}

/// The text without its blocks of code.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    let parts = text.split("\n```").enumerate();
    parts.filter(|(number, _)| number % 2 == 0).map(|(_, part)| part).collect()
}

/// The targets of links, written as `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    let after = text.split("](").skip(1);
    after.filter_map(|rest| rest.split_once(')').map(|(target, _)| target)).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = prose(page);
    let headings = text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let anchor = |heading: &str| {
        let kept = |character: &char| character.is_alphanumeric() || [' ', '-', '_'].contains(character);
        heading
            .to_lowercase()
            .chars()
            .filter(kept)
            .map(|character| if character == ' ' { '-' } else { character })
            .collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for page in pages() {
        let text = prose(&page);
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            let found = anchor.is_empty() || anchors(&target).contains(anchor);
            assert!(found, "{}: {link}: the headings are {:?}", page.display(), anchors(&target));
            count += 1;
        }
    }
    assert!(count > 100, "{count} links");
}

#[test]
fn every_page_is_in_both_tables_of_contents() {
    let docs = Path::new(ROOT).join("docs");
    let names = fs::read_dir(&docs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<_> = names.filter(|name| name != "SUMMARY.md" && name != "README.md").collect();
    for contents in ["SUMMARY.md", "README.md"] {
        let text = fs::read_to_string(docs.join(contents)).unwrap();
        let listed: BTreeSet<_> = links(&text)
            .into_iter()
            .filter(|link| link.ends_with(".md") && *link != "README.md")
            .map(str::to_owned)
            .collect();
        assert_eq!(listed, pages, "{contents}");
    }
}
