//! Set elements (`enum nft_set_elem_attributes`, `enum nft_set_elem_list_attributes`).

use crate::{Attr, AttrReader, AttrWriter, Data, DecodeError, Expr, Family, Message, Text, Verdict, uapi};

/// What a map's key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementData<'a> {
    /// A value
    Value(Data),
    /// A verdict
    Verdict(Verdict<'a>),
}

/// One element of a set or a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element<'a> {
    /// The key; in a set of intervals the first value of a range, or, with `interval_end`, the first value after one
    pub key: Data,
    /// The last value of a range of concatenated keys
    pub key_end: Option<Data>,
    /// Whether the key is the first value that is no longer in the range (`NFT_SET_ELEM_INTERVAL_END`)
    pub interval_end: bool,
    /// Whether it matches every key that no other element has (`NFT_SET_ELEM_CATCHALL`, from 5.13 on); it has no
    /// key of its own
    pub catch_all: bool,
    /// What a map's key leads to
    pub data: Option<ElementData<'a>>,
    /// The named object that a map's key leads to
    pub object: Option<Text<'a>>,
    /// Its expressions, such as a counter
    pub expressions: Vec<Expr<'a>>,
    /// Milliseconds after which it expires; 0 for the set's own
    pub timeout: u64,
    /// Milliseconds until it expires; 0 where it does not, and in what is sent for the whole timeout
    pub expiration: u64,
    /// Bytes that the kernel keeps for user space, such as nft's comment
    pub userdata: &'a [u8],
}

impl<'a> Element<'a> {
    /// An element with this key.
    #[must_use]
    pub fn new(key: Data) -> Self {
        Self { key, ..Self::default() }
    }

    pub(crate) fn encode(&self, writer: &mut AttrWriter) {
        writer.nest(uapi::NFTA_LIST_ELEM, |writer| {
            let interval_end = if self.interval_end { uapi::NFT_SET_ELEM_INTERVAL_END } else { 0 };
            let catch_all = if self.catch_all { uapi::NFT_SET_ELEM_CATCHALL } else { 0 };
            if interval_end | catch_all != 0 {
                writer.put_be32(uapi::NFTA_SET_ELEM_FLAGS, interval_end | catch_all);
            }
            if !self.catch_all || self.key != Data::default() {
                self.key.put(writer, uapi::NFTA_SET_ELEM_KEY);
            }
            if let Some(key_end) = &self.key_end {
                key_end.put(writer, uapi::NFTA_SET_ELEM_KEY_END);
            }
            match &self.data {
                Some(ElementData::Value(value)) => value.put(writer, uapi::NFTA_SET_ELEM_DATA),
                Some(ElementData::Verdict(verdict)) => verdict.put(writer, uapi::NFTA_SET_ELEM_DATA),
                None => {}
            }
            if let Some(object) = self.object {
                writer.put_text(uapi::NFTA_SET_ELEM_OBJREF, object);
            }
            if self.timeout != 0 {
                writer.put_be64(uapi::NFTA_SET_ELEM_TIMEOUT, self.timeout);
            }
            if self.expiration != 0 {
                writer.put_be64(uapi::NFTA_SET_ELEM_EXPIRATION, self.expiration);
            }
            if !self.userdata.is_empty() {
                writer.put(uapi::NFTA_SET_ELEM_USERDATA, self.userdata);
            }
            let (one, many) = (uapi::NFTA_SET_ELEM_EXPR, uapi::NFTA_SET_ELEM_EXPRESSIONS);
            Expr::put_stateful(writer, &self.expressions, one, many);
        });
    }

    pub(crate) fn decode(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
        let mut element = Self::default();
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_SET_ELEM_KEY => element.key = Data::decode(attribute.nested())?,
                uapi::NFTA_SET_ELEM_KEY_END => element.key_end = Some(Data::decode(attribute.nested())?),
                uapi::NFTA_SET_ELEM_DATA => element.data = Some(decode_data(attribute)?),
                uapi::NFTA_SET_ELEM_FLAGS => {
                    let flags = attribute.be32()?;
                    element.interval_end = flags & uapi::NFT_SET_ELEM_INTERVAL_END != 0;
                    element.catch_all = flags & uapi::NFT_SET_ELEM_CATCHALL != 0;
                }
                uapi::NFTA_SET_ELEM_OBJREF => element.object = Some(attribute.text()),
                uapi::NFTA_SET_ELEM_EXPR => {
                    element.expressions.push(Expr::decode_inside(attribute.nested())?);
                }
                uapi::NFTA_SET_ELEM_EXPRESSIONS => {
                    Expr::decode_list_inside(attribute.nested(), &mut element.expressions)?;
                }
                uapi::NFTA_SET_ELEM_TIMEOUT => element.timeout = attribute.be64()?,
                uapi::NFTA_SET_ELEM_EXPIRATION => element.expiration = attribute.be64()?,
                uapi::NFTA_SET_ELEM_USERDATA => element.userdata = attribute.value,
                _ => {}
            }
        }
        Ok(element)
    }
}

fn decode_data(attribute: Attr<'_>) -> Result<ElementData<'_>, DecodeError> {
    for inner in attribute.nested() {
        let inner = inner?;
        if inner.kind == uapi::NFTA_DATA_VERDICT {
            return Verdict::decode(inner.nested()).map(ElementData::Verdict);
        }
    }
    Data::decode(attribute.nested()).map(ElementData::Value)
}

/// The elements in one message, and the set they belong to.
#[derive(Clone, Copy, Debug)]
pub struct ElementList<'a> {
    /// The family of the set's table
    pub family: Family,
    /// The name of the set's table
    pub table: Text<'a>,
    /// The set's name
    pub set: Text<'a>,
    /// The number by which the same batch named the set; 0 for none
    pub set_id: u32,
    elements: AttrReader<'a>,
}

impl<'a> ElementList<'a> {
    /// The elements of the set `set` that a batch adds or deletes.
    #[must_use]
    pub fn new(family: Family, table: impl Into<Text<'a>>, set: impl Into<Text<'a>>, set_id: u32) -> Self {
        Self { family, table: table.into(), set: set.into(), set_id, elements: AttrReader::new(&[]) }
    }

    /// Reads a `NFT_MSG_NEWSETELEM` message.
    ///
    /// # Errors
    /// The message lacks its table or set, or has lengths that do not fit.
    pub fn decode(message: &Message<'a>) -> Result<Self, DecodeError> {
        let mut list = Self::new(message.family, "", "", 0);
        let (mut table, mut set) = (None, None);
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_SET_ELEM_LIST_TABLE => table = Some(attribute.text()),
                uapi::NFTA_SET_ELEM_LIST_SET => set = Some(attribute.text()),
                uapi::NFTA_SET_ELEM_LIST_SET_ID => list.set_id = attribute.be32()?,
                uapi::NFTA_SET_ELEM_LIST_ELEMENTS => list.elements = attribute.nested(),
                _ => {}
            }
        }
        list.table = table.ok_or(DecodeError::Missing { attribute: uapi::NFTA_SET_ELEM_LIST_TABLE })?;
        list.set = set.ok_or(DecodeError::Missing { attribute: uapi::NFTA_SET_ELEM_LIST_SET })?;
        Ok(list)
    }

    /// The elements of a message that was received.
    pub fn elements(&self) -> impl Iterator<Item = Result<Element<'a>, DecodeError>> + use<'a> {
        self.elements.map(|attribute| Element::decode(attribute?.nested()))
    }

    /// Writes all of it, with these elements.
    pub(crate) fn encode_with(&self, writer: &mut AttrWriter, elements: &[Element<'_>]) {
        self.encode_head(writer);
        writer.nest(uapi::NFTA_SET_ELEM_LIST_ELEMENTS, |writer| {
            elements.iter().for_each(|element| element.encode(writer));
        });
    }

    /// Writes everything but the elements themselves.
    pub(crate) fn encode_head(&self, writer: &mut AttrWriter) {
        writer.put_text(uapi::NFTA_SET_ELEM_LIST_TABLE, self.table);
        writer.put_text(uapi::NFTA_SET_ELEM_LIST_SET, self.set);
        if self.set_id != 0 {
            writer.put_be32(uapi::NFTA_SET_ELEM_LIST_SET_ID, self.set_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_bytes, assert_same_message, bytes, message, read};

    /// nft numbers the elements of a list from 1. The kernel does not look at that; other readers only take
    /// NFTA_LIST_ELEM, which is what this crate writes. nft also writes the timeout before the key.
    #[track_caller]
    fn same(list: &ElementList<'_>, elements: &[Element<'_>], golden: &str) {
        let nft = bytes(golden);
        let decoded = ElementList::decode(&read(&nft)).unwrap();
        assert_eq!((decoded.family, decoded.table, decoded.set), (list.family, list.table, list.set));
        assert_eq!(decoded.set_id, list.set_id);
        assert_eq!(decoded.elements().map(Result::unwrap).collect::<Vec<_>>(), elements);

        let unnumbered: String = golden.lines().map(|line| unnumber(line) + "\n").collect();
        let ours = message(|batch| batch.add_elements(list, elements));
        assert_same_message(&ours, &bytes(&unnumbered));
    }

    fn unnumber(line: &str) -> String {
        if !line.contains("# element ") {
            return line.to_owned();
        }
        let words: Vec<_> = line.split_whitespace().collect();
        format!("{} 0180", words[0])
    }

    fn list<'a>(set: &'a str, id: u32) -> ElementList<'a> {
        ElementList::new(Family::Inet, "t", set, id)
    }

    fn value(bytes: &[u8]) -> Element<'static> {
        Element::new(Data::new(bytes))
    }

    #[test]
    fn plain() {
        // add element inet t s { 1.2.3.4 }
        let nft = "
            40000000 0c0a 0104 00000000 00000000  01000000 # NEWSETELEM
              0600 0100 74000000                           # table
              0600 0200 73000000                           # set
              0800 0400 00000001                           # set_id
              1400 0380                                    # elements
                1000 0180                                  # element
                  0c00 0180                                # key
                    0800 0100 01020304                     # value
        ";
        let elements = [value(&[1, 2, 3, 4])];
        same(&list("s", 1), &elements, nft);
        assert_bytes(&message(|batch| batch.add_elements(&list("s", 1), &elements)), &bytes(nft));
    }

    #[test]
    fn delete() {
        // delete element inet t s { 1.2.3.4 }
        let nft = "
            38000000 0e0a 0100 00000000 00000000  01000000 # DELSETELEM
              0600 0100 74000000                           # table
              0600 0200 73000000                           # set
              1400 0380                                    # elements
                1000 0180                                  # element
                  0c00 0180                                # key
                    0800 0100 01020304                     # value
        ";
        let ours = message(|batch| batch.del_elements(&list("s", 0), &[value(&[1, 2, 3, 4])]));
        assert_bytes(&ours, &bytes(nft));
    }

    #[test]
    fn intervals() {
        // elements = { 10.0.0.0/8, 192.168.1.1 }
        let nft = "
            98000000 0c0a 0104 00000000 00000000  01000000 # NEWSETELEM
              0600 0100 74000000                           # table
              0600 0200 73000000                           # set
              0800 0400 00000001                           # set_id
              6c00 0380                                    # elements
                1800 0180                                  # element
                  0800 0300 00000001                       # flags
                  0c00 0180                                # key
                    0800 0100 00000000                     # value
                1000 0280                                  # element 2
                  0c00 0180                                # key
                    0800 0100 0a000000                     # value
                1800 0380                                  # element 3
                  0800 0300 00000001                       # flags
                  0c00 0180                                # key
                    0800 0100 0b000000                     # value
                1000 0480                                  # element 4
                  0c00 0180                                # key
                    0800 0100 c0a80101                     # value
                1800 0580                                  # element 5
                  0800 0300 00000001                       # flags
                  0c00 0180                                # key
                    0800 0100 c0a80102                     # value
        ";
        let end = |bytes| Element { interval_end: true, ..value(bytes) };
        let elements = [
            end(&[0, 0, 0, 0]),
            value(&[10, 0, 0, 0]),
            end(&[11, 0, 0, 0]),
            value(&[192, 168, 1, 1]),
            end(&[192, 168, 1, 2]),
        ];
        same(&list("s", 1), &elements, nft);
    }

    #[test]
    fn a_catchall_element_of_a_dump() {
        // elements = { * : drop }: no key, and another flag than that of an interval's end.
        let golden = "
            44000000 0c0a 0000 00000000 00000000  01000000
              0600 0100 74000000
              0600 0200 76000000
              2000 0380
                1c00 0180
                  0800 0300 00000002
                  1000 0280
                    0c00 0280
                      0800 0100 00000000
        ";
        let message = bytes(golden);
        let list = ElementList::decode(&read(&message)).unwrap();
        let data = Some(ElementData::Verdict(Verdict::Drop));
        let expected = Element { catch_all: true, data, ..Element::default() };
        assert_eq!(list.elements().collect::<Vec<_>>(), [Ok(expected)]);
    }

    #[test]
    fn timeout_and_comment() {
        // elements = { 80 timeout 30s, 443 comment "web" }
        let nft = "
            6c000000 0c0a 0104 00000000 00000000  01000000 # NEWSETELEM
              0600 0100 74000000                           # table
              0a00 0200 74696d6564000000                   # set \"timed\"
              0800 0400 00000002                           # set_id
              3c00 0380                                    # elements
                1c00 0180                                  # element
                  0c00 0400 0000000000007530               # timeout
                  0c00 0180                                # key
                    0600 0100 00500000                     # value
                1c00 0280                                  # element 2
                  0c00 0180                                # key
                    0600 0100 01bb0000                     # value
                  0a00 0600 0004776562000000               # userdata
        ";
        let elements = [
            Element { timeout: 30_000, ..Element::new(Data::be16(80)) },
            Element { userdata: b"\x00\x04web\x00", ..Element::new(Data::be16(443)) },
        ];
        same(&list("timed", 2), &elements, nft);
    }

    #[test]
    fn range_of_concatenated_keys() {
        // elements = { 10.0.0.0-10.0.0.255 . 80 }
        let nft = "
            54000000 0c0a 0104 00000000 00000000  01000000 # NEWSETELEM
              0600 0100 74000000                           # table
              0700 0200 63630000                           # set
              0800 0400 00000003                           # set_id
              2800 0380                                    # elements
                2400 0180                                  # element
                  1000 0180                                # key
                    0c00 0100 0a00000000500000             # value
                  1000 0a80                                # key_end
                    0c00 0100 0a0000ff00500000             # value
        ";
        let key_end = Some(Data::new(&[10, 0, 0, 255, 0, 80, 0, 0]));
        let elements = [Element { key_end, ..value(&[10, 0, 0, 0, 0, 80, 0, 0]) }];
        same(&list("cc", 3), &elements, nft);
    }

    #[test]
    fn value_of_a_map() {
        // elements = { 80 : 1.2.3.4 }
        let nft = "
            4c000000 0c0a 0104 00000000 00000000  01000000 # NEWSETELEM
              0600 0100 74000000                           # table
              0600 0200 6d000000                           # set
              0800 0400 00000004                           # set_id
              2000 0380                                    # elements
                1c00 0180                                  # element
                  0c00 0180                                # key
                    0600 0100 00500000                     # value
                  0c00 0280                                # data
                    0800 0100 01020304                     # value
        ";
        let data = Some(ElementData::Value(Data::new(&[1, 2, 3, 4])));
        same(&list("m", 4), &[Element { data, ..Element::new(Data::be16(80)) }], nft);
    }

    #[test]
    fn verdicts_of_a_map() {
        // elements = { 22 : jump other, 25 : drop }
        let nft = "
            7c000000 0c0a 0104 00000000 00000000  01000000 # NEWSETELEM
              0600 0100 74000000                           # table
              0600 0200 76000000                           # set
              0800 0400 00000005                           # set_id
              5000 0380                                    # elements
                2c00 0180                                  # element
                  0c00 0180                                # key
                    0600 0100 00160000                     # value
                  1c00 0280                                # data
                    1800 0280                              # verdict
                      0800 0100 fffffffd                   # code
                      0a00 0200 6f74686572000000           # chain \"other\"
                2000 0280                                  # element 2
                  0c00 0180                                # key
                    0600 0100 00190000                     # value
                  1000 0280                                # data
                    0c00 0280                              # verdict
                      0800 0100 00000000                   # code
        ";
        let verdict = |port, verdict| {
            let data = Some(ElementData::Verdict(verdict));
            Element { data, ..Element::new(Data::be16(port)) }
        };
        let elements = [verdict(22, Verdict::Jump("other".into())), verdict(25, Verdict::Drop)];
        same(&list("v", 5), &elements, nft);
    }
}
