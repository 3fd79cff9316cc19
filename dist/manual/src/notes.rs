//! What the end of a command's help says, by the sections of a manual page.

/// The parts of the text at the end of a help.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    pub(crate) paragraphs: Vec<String>,
    /// nft's options, which are not clap's
    pub(crate) options: Vec<(String, String)>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) exit: Vec<(String, String)>,
    /// What it does, and the command line
    pub(crate) examples: Vec<(String, String)>,
}

/// What the indented lines after a heading are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Options,
    Environment,
    Examples,
}

impl Notes {
    pub(crate) fn parse(text: &str) -> Self {
        let mut notes = Self::default();
        let (mut part, mut intro, mut starts) = (Part::Examples, String::new(), true);
        for line in text.lines() {
            if let Some(indented) = line.strip_prefix("  ") {
                notes.indented(part, &intro, indented);
                starts = true;
            } else if line.is_empty() {
                (part, starts) = (Part::Examples, true);
            } else if line == "Environment only:" {
                part = Part::Environment;
            } else if line == "nft's options:" {
                part = Part::Options;
            } else if let Some(codes) = line.strip_prefix("Exit codes: ") {
                notes.exit_codes(codes);
                starts = true;
            } else if let Some(introduced) = line.strip_suffix(':').filter(|_| part == Part::Examples) {
                introduced.clone_into(&mut intro);
            } else if starts {
                notes.paragraphs.push(line.to_owned());
                starts = false;
            } else if let Some(paragraph) = notes.paragraphs.last_mut() {
                *paragraph += " ";
                *paragraph += line;
            }
        }
        notes
    }

    fn indented(&mut self, part: Part, intro: &str, line: &str) {
        let pair = |separator: &str| {
            let (name, help) = line.split_once(separator).unwrap_or((line, ""));
            (name.trim().to_owned(), help.trim().to_owned())
        };
        match part {
            Part::Options => self.options.push(pair("  ")),
            Part::Environment => self.environment.push(pair(" ")),
            Part::Examples => self.examples.push((intro.to_owned(), line.to_owned())),
        }
    }

    /// `0 done; 1 failed, and why; 2 wrong usage. And a sentence.`
    fn exit_codes(&mut self, text: &str) {
        for part in text.split_inclusive([';', ',']) {
            match part.trim_start().split_once(' ') {
                Some((code, meaning)) if code.bytes().all(|byte| byte.is_ascii_digit()) => {
                    self.exit.push((code.to_owned(), meaning.to_owned()));
                }
                _ => {
                    if let Some((_, meaning)) = self.exit.last_mut() {
                        *meaning += part;
                    }
                }
            }
        }
        for (_, meaning) in &mut self.exit {
            if let Some((first, rest)) = meaning.clone().split_once(". ") {
                first.clone_into(meaning);
                self.paragraphs.push(rest.to_owned());
            }
            *meaning = meaning.trim_end_matches([';', ',', '.']).to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_help_is_taken_apart() {
        let notes = Notes::parse(
            "Environment only:\n  ENVOY_USER the proxy's user\n\nLists are comma separated.\nA flag wins.\n\nAs it is called; \
             so:\n  meshwire list\n\nExit codes: 0 done, or nothing to do; 1 failed (nothing changed, unless said); 2 \
             wrong usage. Then, the rest.",
        );
        let pair = |one: &str, two: &str| (one.to_owned(), two.to_owned());
        assert_eq!(notes.paragraphs, ["Lists are comma separated. A flag wins.", "Then, the rest."]);
        assert_eq!(notes.environment, [pair("ENVOY_USER", "the proxy's user")]);
        assert_eq!(notes.examples, [pair("As it is called; so", "meshwire list")]);
        assert_eq!(
            notes.exit,
            [
                pair("0", "done, or nothing to do"),
                pair("1", "failed (nothing changed, unless said)"),
                pair("2", "wrong usage"),
            ]
        );
    }
}
