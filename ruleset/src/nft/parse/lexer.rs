//! Words, numbers, addresses and signs: what nft's scanner makes of a text (nftables, src/scanner.l).
//!
//! nft's scanner turns some words into keywords, by its state. Here a word stays a word, and the parser decides what it
//! means where it is: so a chain may be called `mark`.

use super::source::Span;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword
    Word,
    /// Digits, perhaps with 0x before
    Number,
    /// An address, a time, or a pair of numbers: a value that is not a word
    Value,
    /// An IPv6 address in brackets
    Bracketed,
    /// Between double quotes
    Quoted,
    /// A word that ends in `*`
    Asterisk,
    /// A sign of one or two characters
    Sign(Sign),
    /// The end of a line
    Newline,
    /// The end of the text
    End,
    /// No character that nft knows
    Junk,
}

/// A sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Equal,
    NotEqual,
    LessEqual,
    Less,
    GreaterEqual,
    Greater,
    ShiftLeft,
    ShiftRight,
    And,
    Or,
    Xor,
    Not,
    Dot,
    Colon,
    Semicolon,
    BraceOpen,
    BraceClose,
    BracketOpen,
    BracketClose,
    ParenthesisOpen,
    ParenthesisClose,
    Comma,
    Slash,
    Dash,
    Plus,
    Asterisk,
    At,
    Dollar,
    Assign,
}

/// The sign that a text begins with, and its length.
fn sign(bytes: &[u8]) -> Option<(Sign, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let double = match (first, rest.first().copied().unwrap_or(0)) {
        (b'=', b'=') => Some(Sign::Equal),
        (b'!', b'=') => Some(Sign::NotEqual),
        (b'<', b'=') => Some(Sign::LessEqual),
        (b'>', b'=') => Some(Sign::GreaterEqual),
        (b'<', b'<') => Some(Sign::ShiftLeft),
        (b'>', b'>') => Some(Sign::ShiftRight),
        _ => None,
    };
    if let Some(double) = double {
        return Some((double, 2));
    }
    let single = match first {
        b'<' => Sign::Less,
        b'>' => Sign::Greater,
        b'&' => Sign::And,
        b'|' => Sign::Or,
        b'^' => Sign::Xor,
        b'!' => Sign::Not,
        b'.' => Sign::Dot,
        b':' => Sign::Colon,
        b';' => Sign::Semicolon,
        b'{' => Sign::BraceOpen,
        b'}' => Sign::BraceClose,
        b'[' => Sign::BracketOpen,
        b']' => Sign::BracketClose,
        b'(' => Sign::ParenthesisOpen,
        b')' => Sign::ParenthesisClose,
        b',' => Sign::Comma,
        b'/' => Sign::Slash,
        b'-' => Sign::Dash,
        b'+' => Sign::Plus,
        b'*' => Sign::Asterisk,
        b'@' => Sign::At,
        b'$' => Sign::Dollar,
        b'=' => Sign::Assign,
        _ => return None,
    };
    Some((single, 1))
}

/// A token and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// The token at or after this byte of a text. Blanks, comments and continued lines are skipped.
pub(super) fn next(source: u32, text: &str, mut at: usize) -> Token {
    let bytes = text.as_bytes();
    loop {
        match bytes.get(at) {
            Some(b' ' | b'\t' | b'\r') => at += 1,
            Some(b'\\') if bytes.get(at + 1) == Some(&b'\n') => at += 2,
            Some(b'#') => {
                let line =
                    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |end| at + end);
                // A comment that is alone in its line takes the whole line with it.
                let alone = bytes[..at].iter().rev().find(|byte| !matches!(byte, b' ' | b'\t'));
                at = if matches!(alone, None | Some(b'\n')) { (line + 1).min(bytes.len()) } else { line };
            }
            _ => break,
        }
    }
    let (kind, len) = scan(text, at);
    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Token { kind, span: Span { source, start: place(at), end: place(at + len) } }
}

/// Most words, numbers and IPv4 addresses: those for which [`scan`] need not compare what could match.
fn common(first: u8, rest: &[u8]) -> Option<(Kind, usize)> {
    if first.is_ascii_alphabetic() {
        let len = word(rest);
        let next = rest.get(len).copied().unwrap_or(0);
        // An address or a class may begin so, and a beginning ends so.
        let may_be_more = matches!(next, b':' | b'*' | b'\\');
        return (!may_be_more).then_some((Kind::Word, len));
    }
    if first.is_ascii_digit() {
        let len = count(rest, |byte| byte.is_ascii_digit());
        return match rest.get(len).copied().unwrap_or(b' ') {
            b' ' | b'\t' | b'\n' | b',' | b';' | b'}' | b'/' | b'-' => Some((Kind::Number, len)),
            b'.' => Some((Kind::Value, ip4(rest))).filter(|(_, len)| *len > 0),
            _ => None,
        };
    }
    None
}

/// What is at this byte, and how many bytes it takes: the longest that matches, and of several as long the first.
fn scan(text: &str, at: usize) -> (Kind, usize) {
    let rest = &text.as_bytes()[at..];
    let Some(&first) = rest.first() else { return (Kind::End, 0) };
    common(first, rest).unwrap_or_else(|| longest(text, at))
}

/// The longest that matches.
fn longest(text: &str, at: usize) -> (Kind, usize) {
    let rest = &text.as_bytes()[at..];
    let Some(&first) = rest.first() else { return (Kind::End, 0) };
    match first {
        // No other token begins so.
        b',' | b'{' | b'}' | b';' | b'(' | b')' | b'@' | b'$' => {
            if let Some((sign, len)) = sign(rest) {
                return (Kind::Sign(sign), len);
            }
        }
        b'\n' => return (Kind::Newline, 1),
        b'"' => {
            return match rest[1..].iter().position(|&byte| byte == b'"') {
                Some(end) => (Kind::Quoted, end + 2),
                None => (Kind::Junk, 1),
            };
        }
        b'\\' if rest.get(1) == Some(&b'*') => return (Kind::Asterisk, 2),
        b'[' => {
            let len = ip6(&rest[1..]);
            return match rest.get(len + 1) {
                Some(b']') if len > 0 => (Kind::Bracketed, len + 2),
                _ => (Kind::Sign(Sign::BracketOpen), 1),
            };
        }
        _ => {}
    }
    let mut best = (Kind::Junk, 0);
    let mut offer = |kind, len| {
        if len > best.1 {
            best = (kind, len);
        }
    };
    if let Some((sign, len)) = sign(rest) {
        offer(Kind::Sign(sign), len);
    }
    let digits = count(rest, |byte| byte.is_ascii_hexdigit());
    let has_colon = rest.get(digits) == Some(&b':');
    if has_colon {
        offer(Kind::Value, mac(rest).max(ip6(rest)));
    }
    if first.is_ascii_digit() {
        offer(
            Kind::Value,
            ["8021ad", "8021q"]
                .into_iter()
                .find(|word| rest.starts_with(word.as_bytes()))
                .map_or(0, str::len),
        );
        offer(Kind::Value, ip4(rest).max(time(rest)));
        offer(Kind::Number, number(rest));
    }
    if has_colon
        && first.is_ascii_hexdigit()
        && let Some((len, matched)) = class_id(rest)
        && matched > best.1
    {
        best = (Kind::Value, len);
    } else if let word @ 1.. = word(rest) {
        let (kind, len) = asterisk(rest, word).map_or((Kind::Word, word), |len| (Kind::Asterisk, len));
        // A dot alone is a sign.
        if len > best.1 {
            best = (kind, len);
        }
    }
    if best.1 > 0 { best } else { (Kind::Junk, text[at..].chars().next().map_or(1, char::len_utf8)) }
}

fn count(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|&byte| !is(byte)).unwrap_or(bytes.len())
}

/// Digits, or 0x and hexadecimal digits.
fn number(bytes: &[u8]) -> usize {
    if let [b'0', b'x' | b'X', rest @ ..] = bytes
        && let digits @ 1.. = count(rest, |byte| byte.is_ascii_hexdigit())
    {
        return digits + 2;
    }
    count(bytes, |byte| byte.is_ascii_digit())
}

fn word(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(first) if first.is_ascii_alphabetic() || matches!(first, b'_' | b'.') => {
            count(bytes, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.'))
        }
        _ => 0,
    }
}

/// Bytes of a word with an asterisk after it: `eth*`, `eth\*`, `eth\*x`.
fn asterisk(bytes: &[u8], len: usize) -> Option<usize> {
    match &bytes[len..] {
        [b'*', ..] => Some(len + 1),
        [b'\\', b'*', rest @ ..] => Some(len + 2 + word(rest)),
        _ => None,
    }
}

/// Bytes of six pairs of hexadecimal digits.
fn mac(bytes: &[u8]) -> usize {
    let mut at = 0;
    for pair in 0..6 {
        if pair > 0 {
            if bytes.get(at) != Some(&b':') {
                return 0;
            }
            at += 1;
        }
        match count(&bytes[at..], |byte| byte.is_ascii_hexdigit()).min(2) {
            0 => return 0,
            digits => at += digits,
        }
    }
    at
}

/// Bytes of four numbers of at most three digits.
fn ip4(bytes: &[u8]) -> usize {
    let mut at = 0;
    for part in 0..4 {
        if part > 0 {
            if bytes.get(at) != Some(&b'.') {
                return 0;
            }
            at += 1;
        }
        match count(&bytes[at..], |byte| byte.is_ascii_digit()) {
            0 => return 0,
            digits => at += digits.min(3),
        }
    }
    at
}

/// The longest IPv6 address, in bytes; with an IPv4 address only after `::` or `::ffff:`.
fn ip6(bytes: &[u8]) -> usize {
    /// `xxxx:xxxx:xxxx:xxxx:xxxx:xxxx:255.255.255.255`
    const LONGEST: usize = 45;
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let run = count(bytes, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    if !bytes[..run].contains(&b':') {
        return 0;
    }
    let is_address = |len: &usize| {
        let text = std::str::from_utf8(&bytes[..*len]).unwrap_or("");
        let mapped = || {
            text.strip_prefix("::").is_some_and(|rest| {
                let rest = rest
                    .split_once(':')
                    .map_or(rest, |(four, rest)| if four.eq_ignore_ascii_case("ffff") { rest } else { ":" });
                !rest.contains(':')
            })
        };
        text.parse::<std::net::Ipv6Addr>().is_ok() && (!text.contains('.') || mapped())
    };
    (2..=run).rev().find(is_address).unwrap_or(0)
}

/// Days, hours, minutes, seconds and milliseconds, each at most once and in this order.
fn time(bytes: &[u8]) -> usize {
    let mut at = 0;
    for unit in ["d", "h", "m", "s", "ms"] {
        let digits = count(&bytes[at..], |byte| byte.is_ascii_digit());
        if digits > 0 && bytes[at + digits..].starts_with(unit.as_bytes()) {
            // The m of ms is not a minute.
            if unit == "m" && bytes[at + digits..].starts_with(b"ms") {
                continue;
            }
            at += digits + unit.len();
        }
    }
    at
}

/// A traffic class such as `1:2a`: its bytes, and with the character that has to come after it.
fn class_id(bytes: &[u8]) -> Option<(usize, usize)> {
    let major = count(bytes, |byte| byte.is_ascii_hexdigit());
    let rest = bytes.get(major..).filter(|_| major <= 4)?.strip_prefix(b":")?;
    let minor = count(rest, |byte| byte.is_ascii_hexdigit());
    let after = rest.get(minor).filter(|_| (1..=4).contains(&minor))?;
    let len = major + 1 + minor;
    b" \t\n:-},".contains(after).then_some((len, len + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(Kind, &str)> {
        let mut tokens = Vec::new();
        let mut at = 0;
        loop {
            let token = next(0, text, at);
            if token.kind == Kind::End {
                return tokens;
            }
            at = usize::try_from(token.span.end).unwrap();
            tokens.push((token.kind, &text[usize::try_from(token.span.start).unwrap()..at]));
        }
    }

    #[track_caller]
    fn one(text: &str, kind: Kind) {
        assert_eq!(tokens(text), [(kind, text)]);
    }

    #[test]
    fn words() {
        for word in ["accept", "a.b", "istio-proxy-nat", "_x", ".hidden", "a/b", "dead"] {
            one(word, Kind::Word);
        }
        for word in ["eth*", "eth\\*", "\\*", "eth\\*x"] {
            one(word, Kind::Asterisk);
        }
    }

    #[test]
    fn values() {
        for value in
            ["1.2.3.4", "::", "::1", "fe80::1", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", "::1.2.3.4", "1::"]
        {
            one(value, Kind::Value);
        }
        for value in
            ["8021q", "8021ad", "00:11:22:33:44:55", "1:2:3:4:5:6", "10s", "1d2h3m4s5ms", "5ms", "dead::"]
        {
            one(value, Kind::Value);
        }
        one("[fe80::1]", Kind::Bracketed);
        for number in ["0", "0x1F", "18446744073709551615"] {
            one(number, Kind::Number);
        }
        let number = |text| (Kind::Number, text);
        assert_eq!(tokens("12ab"), [number("12"), (Kind::Word, "ab")]);
        assert_eq!(tokens("0xzz"), [number("0"), (Kind::Word, "xzz")]);
    }

    /// nft takes `22:ace,` for a traffic class, too.
    #[test]
    fn classes_and_colons() {
        let colon = (Kind::Sign(Sign::Colon), ":");
        assert_eq!(tokens("1:2a "), [(Kind::Value, "1:2a")]);
        assert_eq!(tokens("22:accept"), [(Kind::Number, "22"), colon, (Kind::Word, "accept")]);
        assert_eq!(tokens("22 : drop"), [(Kind::Number, "22"), colon, (Kind::Word, "drop")]);
        assert_eq!(tokens("1.1.1.1:80"), [(Kind::Value, "1.1.1.1"), colon, (Kind::Number, "80")]);
    }

    /// What is taken for a word, a number or an address at once is what the longest match is.
    #[test]
    fn common_tokens_are_the_longest() {
        let ends = [
            "", " ", "\n", ",", ";", "}", "/8", "-", ".", ":", ":5 ", "*", "\\*", "x", "s", "#", "(", "=",
            "é", "[", "\"",
        ];
        let starts = [
            "a",
            "dead",
            "eth0",
            "accept",
            "a.b",
            "x-y",
            "1",
            "80",
            "08",
            "0x1f",
            "12",
            "1.2",
            "1.2.3",
            "1.2.3.4",
            "1.2.3.4.5",
            "1234.1.1.1",
            "1.2.3.4444",
            "10s",
            "8021q",
            "8021ad",
        ];
        for text in starts.iter().flat_map(|start| ends.map(|end| format!("{start}{end}"))) {
            if let Some(found) = common(text.as_bytes()[0], text.as_bytes()) {
                assert_eq!(found, longest(&text, 0), "{text}");
            }
        }
    }

    #[test]
    fn ranges_and_prefixes() {
        let sign = |sign, text| (Kind::Sign(sign), text);
        let address = |text| (Kind::Value, text);
        assert_eq!(
            tokens("1.1.1.1-2.2.2.2"),
            [address("1.1.1.1"), sign(Sign::Dash, "-"), address("2.2.2.2")]
        );
        assert_eq!(tokens("fe80::/64"), [address("fe80::"), sign(Sign::Slash, "/"), (Kind::Number, "64")]);
    }

    #[test]
    fn comments_and_lines() {
        let newline = (Kind::Newline, "\n");
        let word = |text| (Kind::Word, text);
        assert_eq!(tokens("a # b\nc"), [word("a"), newline, word("c")]);
        assert_eq!(tokens("a\n # b\nc"), [word("a"), newline, word("c")]);
        assert_eq!(tokens("a \\\n b"), [word("a"), word("b")]);
        assert_eq!(tokens("\"a # b\""), [(Kind::Quoted, "\"a # b\"")]);
        assert_eq!(tokens("\"open"), [(Kind::Junk, "\""), word("open")]);
        assert_eq!(tokens("é"), [(Kind::Junk, "é")]);
    }

    #[test]
    fn signs() {
        let text = "== != <= >= << >> < > & | ^ ! . : ; { } [ ] ( ) , / - + * @ $ =";
        for word in text.split(' ') {
            let found = tokens(word);
            assert!(matches!(found[..], [(Kind::Sign(_), whole)] if whole == word), "{word}: {found:?}");
        }
        let kinds: std::collections::HashSet<_> =
            tokens(text).iter().map(|(kind, _)| format!("{kind:?}")).collect();
        assert_eq!(kinds.len(), text.split(' ').count());
        assert_eq!(tokens("=!"), [(Kind::Sign(Sign::Assign), "="), (Kind::Sign(Sign::Not), "!")]);
    }
}
