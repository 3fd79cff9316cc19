//! The transcripts in docs/, run word for word: lines after `$ ` are typed, all others are what comes of it. `…` in a
//! line is anything: a time, a number of a thread.

use std::fs;
use std::process::Command;

use crate::harness::{Namespace, oracle, privileged, program, say, slowness};

const DOCS: &str = "docs";

#[test]
fn what_the_manual_shows_is_what_comes_of_it() {
    if !(privileged() && oracle("nft") && oracle("ip") && oracle("wget")) {
        return;
    }
    let mut count = 0;
    for page in fs::read_dir(DOCS).unwrap() {
        let text = fs::read_to_string(page.unwrap().path()).unwrap();
        let blocks = text.split("\n```").filter_map(|block| block.strip_prefix("transcript\n"));
        count += blocks.map(run).count();
    }
    assert!(count > 3, "docs/ has {count} transcripts");
    say(&format!("{count} transcripts"));
}

/// Runs a transcript in a pod of its own, in a folder with the files that the manual speaks of.
fn run(transcript: &str) {
    let namespace = Namespace::with_addresses(&["10.0.0.2"]);
    let (typed, shown): (Vec<_>, Vec<_>) = transcript.lines().partition(|line| line.starts_with("$ "));
    let script: String = typed.iter().map(|line| format!("{}\n", &line[2..])).collect();
    // What happens meanwhile takes longer on a slow machine.
    let slow = slowness();
    let script =
        script.replace("sleep 1;", &format!("sleep {slow};")).replace(" 3s ", &format!(" {}s ", 3 * slow));
    let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec 2>&1\n{script}")]).env("PATH", path);
    let output = namespace.output(&mut command, "");
    let came = String::from_utf8(output.stdout).unwrap();
    let came: Vec<_> = came.lines().collect();
    let same = came.len() == shown.len() && came.iter().zip(&shown).all(|(came, shown)| matches(came, shown));
    assert!(same, "{script}\nshown:\n{}\ncame:\n{}", shown.join("\n"), came.join("\n"));
}

/// Whether a line is what is shown, where `…` is anything.
fn matches(line: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let parts: Vec<_> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        if index + 1 == parts.len() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn lines_match_where_only_an_ellipsis_differs() {
    assert!(matches("a 12 b", "a … b") && matches("a", "a") && matches("1 x 2", "… x …"));
    assert!(!matches("a 12 c", "a … b") && !matches("ab", "a") && !matches("", "x"));
}
