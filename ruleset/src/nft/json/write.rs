//! JSON as it is written, from front to end: nothing of it is kept but the text.
//!
//! The form is that of nft, byte for byte: members in the order in which they are put, a space after commas and colons,
//! and libjansson's escapes (`json_dumpf` without flags).

use std::fmt::{self, Display, Write as _};

use crate::nft::print::{Options, Printer};

/// A place for one value at the end of a text.
#[derive(Debug)]
pub(super) struct Json<'o> {
    out: &'o mut String,
}

impl<'o> Json<'o> {
    pub(super) fn at_end_of(out: &'o mut String) -> Self {
        Self { out }
    }

    pub(super) fn null(self) {
        self.out.push_str("null");
    }

    pub(super) fn boolean(self, value: bool) {
        self.out.push_str(if value { "true" } else { "false" });
    }

    pub(super) fn number(self, value: impl Into<i128>) {
        // Writing to a text cannot fail.
        let _ = write!(self.out, "{}", value.into());
    }

    pub(super) fn text(self, text: impl Display) {
        self.out.push('"');
        let _ = write!(Escaping(self.out), "{text}");
        self.out.push('"');
    }

    /// What is printed as nft's text, without the quotation marks around it.
    pub(super) fn printed(self, options: Options<'_>, print: impl FnOnce(&mut Printer<'_>)) {
        let start = self.out.len();
        print(&mut Printer { out: self.out, options });
        let printed = &self.out[start..];
        let plain = printed.trim_matches('"');
        if plain.contains(needs_escape) {
            let plain = plain.to_owned();
            self.out.truncate(start);
            self.text(plain);
        } else if plain.len() + 2 != printed.len() {
            let end = start + printed.len() - printed.trim_start_matches('"').len();
            let plain_len = plain.len();
            self.out.replace_range(start..end, "\"");
            self.out.truncate(start + 1 + plain_len);
            self.out.push('"');
        }
    }

    pub(super) fn object(self, fill: impl FnOnce(&mut Members<'_>)) {
        self.out.push('{');
        let start = self.out.len();
        fill(&mut Members { out: self.out, start });
        self.out.push('}');
    }

    /// An object, or null where nothing is put into it.
    pub(super) fn object_or_null(self, fill: impl FnOnce(&mut Members<'_>)) {
        self.out.push('{');
        let start = self.out.len();
        fill(&mut Members { out: self.out, start });
        if self.out.len() == start {
            self.out.pop();
            self.out.push_str("null");
        } else {
            self.out.push('}');
        }
    }

    pub(super) fn array(self, fill: impl FnOnce(&mut Items<'_>)) {
        self.out.push('[');
        let start = self.out.len();
        fill(&mut Items { out: self.out, start });
        self.out.push(']');
    }

    /// An object with one member.
    pub(super) fn of(self, key: &str, fill: impl FnOnce(Json<'_>)) {
        self.object(|members| fill(members.member(key)));
    }

    /// An object with one member, which is null.
    pub(super) fn null_of(self, key: &str) {
        self.object(|members| members.member(key).null());
    }

    /// An object with one member, which is an object.
    pub(super) fn object_of(self, key: &str, fill: impl FnOnce(&mut Members<'_>)) {
        self.of(key, |json| json.object(fill));
    }
}

/// The inside of an object.
#[derive(Debug)]
pub(super) struct Members<'o> {
    out: &'o mut String,
    start: usize,
}

impl Members<'_> {
    /// The value of a member whose name has nothing to escape.
    pub(super) fn member(&mut self, key: &str) -> Json<'_> {
        separate(self.out, self.start);
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\": ");
        Json { out: self.out }
    }

    pub(super) fn text(&mut self, key: &str, text: impl Display) {
        self.member(key).text(text);
    }

    pub(super) fn number(&mut self, key: &str, value: impl Into<i128>) {
        self.member(key).number(value);
    }

    /// One name alone, several as an array; nothing for none.
    pub(super) fn names<T: Display>(&mut self, key: &str, names: impl IntoIterator<Item = T>) {
        let mut names = names.into_iter();
        let Some(first) = names.next() else { return };
        match names.next() {
            None => self.text(key, first),
            Some(second) => self.list(key, [first, second].into_iter().chain(names)),
        }
    }

    /// Names as an array.
    pub(super) fn list<T: Display>(&mut self, key: &str, names: impl IntoIterator<Item = T>) {
        self.member(key).array(|items| names.into_iter().for_each(|name| items.item().text(name)));
    }

    /// The members of an object that is made elsewhere.
    pub(super) fn members_of(&mut self, fill: impl FnOnce(Json<'_>)) {
        let mut object = String::new();
        fill(Json { out: &mut object });
        if let Some(members) = object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            separate(self.out, self.start);
            self.out.push_str(members);
        }
    }
}

/// The inside of an array.
#[derive(Debug)]
pub(super) struct Items<'o> {
    out: &'o mut String,
    start: usize,
}

impl Items<'_> {
    pub(super) fn item(&mut self) -> Json<'_> {
        separate(self.out, self.start);
        Json { out: self.out }
    }
}

fn separate(out: &mut String, start: usize) {
    if out.len() > start {
        out.push_str(", ");
    }
}

fn needs_escape(character: char) -> bool {
    character < ' ' || matches!(character, '"' | '\\')
}

/// Writes text with what JSON does not allow in it escaped.
struct Escaping<'o>(&'o mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(needs_escape) {
            let (plain, from) = rest.split_at(at);
            self.0.push_str(plain);
            let mut characters = from.chars();
            match characters.next() {
                Some(mark @ ('"' | '\\')) => self.0.extend(['\\', mark]),
                Some('\n') => self.0.push_str("\\n"),
                Some('\r') => self.0.push_str("\\r"),
                Some('\t') => self.0.push_str("\\t"),
                Some('\u{8}') => self.0.push_str("\\b"),
                Some('\u{c}') => self.0.push_str("\\f"),
                Some(other) => write!(self.0, "\\u{:04X}", u32::from(other))?,
                None => {}
            }
            rest = characters.as_str();
        }
        self.0.push_str(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fill: impl FnOnce(Json<'_>)) -> String {
        let mut out = String::new();
        fill(Json::at_end_of(&mut out));
        out
    }

    #[test]
    fn what_is_escaped_is_read_back() {
        let text = "\"a\\b\"\u{1}\u{1f}\t\n\r\u{8}\u{c}/\u{7f}é";
        let json = written(|json| json.text(text));
        assert_eq!(json, "\"\\\"a\\\\b\\\"\\u0001\\u001F\\t\\n\\r\\b\\f/\u{7f}é\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn printed_text_has_one_pair_of_quotation_marks() {
        let printed =
            |text: &str| written(|json| json.printed(Options::default(), |to| to.out.push_str(text)));
        assert_eq!(printed("10.0.0.1"), "\"10.0.0.1\"");
        assert_eq!(printed("\"lo\""), "\"lo\"");
        assert_eq!(printed("\"a\\b\""), "\"a\\\\b\"");
        assert_eq!(printed(""), "\"\"");
    }

    #[test]
    fn members_come_in_the_order_in_which_they_are_put() {
        let json = written(|json| {
            json.object(|object| {
                object.text("b", "x");
                object.member("a").array(|items| (0..2).for_each(|number| items.item().number(number)));
                object.member("c").object_or_null(|_| {});
                object.members_of(|json| json.object_of("d", |inner| inner.number("e", 1)));
                object.names("f", [""; 0]);
                object.names("g", ["one"]);
                object.names("h", ["one", "two"]);
            });
        });
        let expected =
            r#"{"b": "x", "a": [0, 1], "c": null, "d": {"e": 1}, "g": "one", "h": ["one", "two"]}"#;
        assert_eq!(json, expected);
    }
}
