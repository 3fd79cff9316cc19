//! The text of a rule, as lines that fit a box: nothing is left out that says what happens to a packet.

/// How much of a text is on one line, in characters.
pub(super) const LINE: usize = 104;
/// What is before the lines of a rule but the first.
const INDENT: &str = "    ";
/// Of lists with more elements only the first ones are drawn, and how many there are.
const ELEMENTS: usize = 24;
const FIRST_ELEMENTS: usize = 16;
/// How much of a comment is drawn, in characters.
const COMMENT: usize = 40;

/// A rule's text in lines: broken between words, with the number of elements in the place of most of a long list, and
/// with the beginning of a long comment.
pub(super) fn lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut room = LINE;
    for word in words(text).into_iter().flat_map(pieces) {
        let length = word.chars().count();
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(&word);
        } else if length < room {
            line.push(' ');
            line.push_str(&word);
            room -= 1;
        } else {
            lines.push(format!("{INDENT}{word}"));
            room = LINE - INDENT.len();
        }
        room = room.saturating_sub(length);
    }
    lines
}

/// The words of a rule; a quoted text is one of them.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    // Where the list that is open begins, and how many elements it has so far.
    let (mut list, mut elements) = (0, 0);
    for word in split(text) {
        match word {
            "{" => (list, elements) = (words.len() + 1, 1),
            "}" if elements > ELEMENTS => {
                let end = nth_element(&words[list..], FIRST_ELEMENTS) + list;
                words.truncate(end);
                words.push(format!("… {} more", elements - FIRST_ELEMENTS));
                elements = 0;
            }
            "}" => elements = 0,
            word if word.ends_with(',') && elements > 0 => elements += 1,
            _ => {}
        }
        match words.last() {
            Some(last) if last == "comment" => words.push(shortened(word, COMMENT)),
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// Where the element of this number ends, in words.
fn nth_element(words: &[String], number: usize) -> usize {
    let ends = words.iter().enumerate().filter(|(_, word)| word.ends_with(','));
    ends.map(|(index, _)| index + 1).nth(number.saturating_sub(1)).unwrap_or(words.len())
}

/// At spaces outside of quotes.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |character| {
        is_quoted ^= character == '"';
        character == ' ' && !is_quoted
    })
}

/// A word that fits no line, in pieces that do.
fn pieces(word: String) -> Vec<String> {
    let size = LINE - INDENT.len();
    if word.chars().count() <= size {
        return vec![word];
    }
    let characters: Vec<char> = word.chars().collect();
    characters.chunks(size).map(|piece| piece.iter().collect()).collect()
}

/// The text in at most `limit` characters; a quoted one stays that.
fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let quote = if text.ends_with('"') { "\"" } else { "" };
    text.chars().take(limit - 1 - quote.len()).chain(['…']).chain(quote.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_broken_between_words_and_loses_none() {
        let rule = "oifname \"lo\" meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != { 53, 15008 } meta skuid 1337 \
                    counter jump istio-in-redirect";
        let broken = lines(rule);
        assert!(broken.len() == 2 && broken.iter().all(|line| line.chars().count() <= LINE), "{broken:?}");
        assert_eq!(broken.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "), rule);
        assert_eq!(lines("counter accept"), ["counter accept"]);
        let exact = "x".repeat(52) + " " + &"y".repeat(51);
        assert_eq!(lines(&exact), [exact.as_str()]);
    }

    #[test]
    fn most_of_a_long_list_is_a_number() {
        let ports = |count: usize| (1..=count).map(|port| port.to_string()).collect::<Vec<_>>().join(", ");
        let rule = format!("tcp dport {{ {} }} accept", ports(1000));
        let drawn = lines(&rule).join("\n").replace("\n    ", " ");
        assert_eq!(drawn, format!("tcp dport {{ {}, … 984 more }} accept", ports(16)));
        let rule = format!("tcp dport {{ {} }} accept", ports(24));
        assert_eq!(lines(&rule).join("\n").replace("\n    ", " "), rule);
    }

    #[test]
    fn only_comments_are_cut() {
        let long = "x y ".repeat(30);
        assert_eq!(
            lines(&format!("drop comment \"{long}\"")),
            [format!("drop comment \"{}…\"", &long[..37])]
        );
        let prefix = format!("log prefix \"{long}\" drop");
        assert_eq!(lines(&prefix).concat().replace(' ', ""), prefix.replace(' ', ""));
    }
}
