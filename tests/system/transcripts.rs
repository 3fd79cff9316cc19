//! The transcripts in docs/, run word for word: lines after `$ ` are typed, all others are what comes of it. `…` in a
//! line is anything: a time, a number of a thread.

use std::fs;
use std::process::Command;

use crate::harness::{Namespace, oracle, privileged, program, say};

const DOCS: &str = "docs";

/// What the pauses and the time limits of a transcript stand for. What runs in the background writes to `$back`: it is shown when
/// it is waited for, so that the order of lines does not depend on who is faster.
const FUNCTIONS: &str = r#"
shown=0
show() { size=$(wc -c <"$back"); head -c "$size" "$back" | tail -c "+$((shown + 1))"; shown=$size; }
until_() { tries=0; until "$@" || [ "$tries" -ge 300 ]; do sleep 0.1; tries=$((tries + 1)); done; }
has_more() { [ "$(wc -c <"$back")" -gt "$shown" ]; }
until_reported() { until_ has_more; show; }
has_trace() { nft list tables | grep -q meshwire-trace; }
until_traced() { until_ has_trace; }
end() { until_reported; kill "$1"; wait "$1"; code=$?; show; return "$code"; }
"#;

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
    let script = event_driven(typed.iter().map(|line| &line[2..]));
    let back = tempfile::NamedTempFile::new().unwrap();
    let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("exec 2>&1\n{FUNCTIONS}{script}")])
        .env("PATH", path)
        .env("back", back.path());
    let output = namespace.output(&mut command, "");
    let came = String::from_utf8(output.stdout).unwrap();
    let came: Vec<_> = came.lines().collect();
    let same = came.len() == shown.len() && came.iter().zip(&shown).all(|(came, shown)| matches(came, shown));
    assert!(same, "{script}\nshown:\n{}\ncame:\n{}", shown.join("\n"), came.join("\n"));
}

/// The script of these lines, with each pause replaced by what it is meant to be long enough for: that the watch in the
/// background reports, or that the trace there has its table. A watch ends when it has made its last report, and not by its time
/// limit, which on a slow machine comes before that.
fn event_driven<'l>(lines: impl Iterator<Item = &'l str>) -> String {
    let (mut script, mut ready) = (String::new(), None);
    for line in lines {
        let mut line = line.replace(" 3s ", " 60s ");
        if let Some(pause) = line.strip_prefix("sleep 1;") {
            line = format!("{};{pause}", ready.expect("a pause is for what runs in the background"));
        }
        if let Some(command) = line.strip_suffix(" &") {
            ready = Some(if command.contains("meshwire trace ") { "until_traced" } else { "until_reported" });
            line = format!(": >\"$back\"; shown=0; {command} >\"$back\" &");
        } else if let Some(before) = line.strip_suffix("; wait") {
            line = format!("{before}; wait; show");
        }
        script += &(line.replace("; wait $!", "; end $!") + "\n");
    }
    script
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
