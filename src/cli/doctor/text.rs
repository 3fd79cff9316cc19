//! The report as one screen: the verdict first, then what it is about, what is so, and beneath what to do.

use std::fmt::Write;

use super::advice;
use crate::preflight::report::{Report, Verdict};

/// As many columns as a screen surely has.
const WIDTH: usize = 100;
/// Where the text begins: after a verdict (7), a subject (17), and two spaces after each.
const INDENT: usize = 28;

pub(super) fn report(report: &Report, colour: bool) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        lines(&mut text, colour, finding.verdict, finding.subject, &finding.says, &advice(finding));
    }
    let heading = if report.judgements.len() == 1 { "Can it run here?" } else { "What can run here" };
    let _ = writeln!(text, "\n{heading}");
    for judgement in &report.judgements {
        let says = judgement.reasons.join("; ");
        lines(&mut text, colour, judgement.verdict, judgement.profile.name(), &says, &[]);
    }
    text
}

fn lines(out: &mut String, colour: bool, verdict: Verdict, subject: &str, says: &str, advice: &[String]) {
    let paint = match verdict {
        _ if !colour => ["", ""],
        Verdict::Ok => ["\x1b[32m", "\x1b[0m"],
        Verdict::Unknown => ["\x1b[36m", "\x1b[0m"],
        Verdict::Warning => ["\x1b[33m", "\x1b[0m"],
        Verdict::No => ["\x1b[1;31m", "\x1b[0m"],
    };
    let head = format!("{}{:<7}{}  {subject:<17}  ", paint[0], verdict.word(), paint[1]);
    let mut rest = wrapped(says).into_iter();
    let first = format!("{head}{}", rest.next().unwrap_or_default());
    out.push_str(first.trim_end());
    out.push('\n');
    for line in rest.chain(advice.iter().flat_map(|line| wrapped(line))) {
        let _ = writeln!(out, "{:INDENT$}{line}", "");
    }
}

/// Broken at spaces so that it fits next to the indent.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH - INDENT {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_subject_and_text_are_columns() {
        let mut out = String::new();
        lines(&mut out, false, Verdict::Ok, "kernel", "6.18", &[]);
        lines(&mut out, false, Verdict::Warning, "network namespace", "its own", &["do this".to_owned()]);
        lines(&mut out, true, Verdict::No, "sidecar-tproxy", "", &[]);
        let expected = "ok       kernel             6.18\n\
                        warning  network namespace  its own\n                            do this\n\
                        \x1b[1;31mno     \x1b[0m  sidecar-tproxy\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn long_lines_are_broken_at_spaces() {
        let text = "word ".repeat(40);
        let lines = wrapped(text.trim_end());
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= WIDTH - INDENT), "{lines:?}");
        assert_eq!(lines.join(" "), text.trim_end());
        assert_eq!(wrapped(&"x".repeat(200)).len(), 1);
    }
}
