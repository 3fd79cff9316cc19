//! The manual page names every option and every variable that `--help` does.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::fs;
use std::process::Command;

#[test]
fn the_page_has_every_option_of_every_program() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/manual/pages/meshwire-agent.8"));
    let page = page.unwrap();
    let sections: Vec<_> =
        page.split("\n.SS ").skip(1).map(|section| section.split("\n.SH ").next().unwrap()).collect();
    let programs = ["install-cni", "linkerd2-cni-install", "linkerd-cni-repair-controller"];
    assert_eq!(sections.len(), programs.len());
    for (program, section) in programs.iter().zip(sections) {
        assert!(section.starts_with(&format!("\"{program}\"")), "{section}");
        let output =
            Command::new(env!("CARGO_BIN_EXE_meshwire-agent")).args([program, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let named: Vec<_> =
            section.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).collect();
        let options = help.lines().filter_map(|line| line.trim().strip_prefix("--"));
        let options = options.map(|line| format!("--{}", line.split([' ', '[']).next().unwrap()));
        let variables = help.split("[env: ").skip(1).map(|rest| rest.split(']').next().unwrap().to_owned());
        let all: Vec<_> = options.chain(variables).collect();
        assert!(all.len() > 8, "{help}");
        for name in all {
            assert!(named.contains(&name.as_str()), "{program}: the page lacks {name}");
        }
        // Nor has the page what the program no longer takes.
        for line in section.lines().filter(|line| line.starts_with(".B")) {
            let option = line.split(' ').nth(1).unwrap();
            assert!(help.contains(&format!(" {option}")), "{program} has no {option}");
        }
    }
}
