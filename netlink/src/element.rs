//! Set elements (`enum nft_set_elem_attributes`, `enum nft_set_elem_list_attributes`).

use crate::{Attr, AttrReader, AttrWriter, Data, DecodeError, Expr, Family, Message, Verdict, uapi};

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
    /// The key; in a set of intervals the first value of a range, or, with `interval_end`, the value behind one
    pub key: Data,
    /// The last value of a range of concatenated keys
    pub key_end: Option<Data>,
    /// Whether the key is the first value that is no longer in the range (`NFT_SET_ELEM_INTERVAL_END`)
    pub interval_end: bool,
    /// Whether it stands for every key that no other element has (`NFT_SET_ELEM_CATCHALL`, from 5.13 on); it has no
    /// key of its own
    pub catch_all: bool,
    /// What a map's key leads to
    pub data: Option<ElementData<'a>>,
    /// The named object that a map's key leads to
    pub object: Option<&'a str>,
    /// Its expressions, such as a counter
    pub expressions: Vec<Expr<'a>>,
    /// Milliseconds after which it expires; 0 for the set's own
    pub timeout: u64,
    /// Milliseconds until it expires, as the kernel tells; 0 where it does not
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
                writer.put_str(uapi::NFTA_SET_ELEM_OBJREF, object);
            }
            if self.timeout != 0 {
                writer.put_be64(uapi::NFTA_SET_ELEM_TIMEOUT, self.timeout);
            }
            if !self.userdata.is_empty() {
                writer.put(uapi::NFTA_SET_ELEM_USERDATA, self.userdata);
            }
            let (one, many) = (uapi::NFTA_SET_ELEM_EXPR, uapi::NFTA_SET_ELEM_EXPRESSIONS);
            Expr::put_stateful(writer, &self.expressions, one, many);
        });
    }

    fn decode(attributes: AttrReader<'a>) -> Result<Self, DecodeError> {
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
                uapi::NFTA_SET_ELEM_OBJREF => element.object = Some(attribute.str()?),
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
    pub table: &'a str,
    /// The set's name
    pub set: &'a str,
    /// The number by which the same batch named the set; 0 for none
    pub set_id: u32,
    elements: AttrReader<'a>,
}

impl<'a> ElementList<'a> {
    /// The elements of the set `set` that a batch adds or deletes.
    #[must_use]
    pub fn new(family: Family, table: &'a str, set: &'a str, set_id: u32) -> Self {
        Self { family, table, set, set_id, elements: AttrReader::new(&[]) }
    }

    /// Reads a `NFT_MSG_NEWSETELEM` message.
    ///
    /// # Errors
    /// The message lacks its table or set, or has lengths that do not fit.
    pub fn decode(message: &Message<'a>) -> Result<Self, DecodeError> {
        let mut list = Self::new(message.family, "", "", 0);
        for attribute in message.attributes {
            let attribute = attribute?;
            match attribute.kind {
                uapi::NFTA_SET_ELEM_LIST_TABLE => list.table = attribute.str()?,
                uapi::NFTA_SET_ELEM_LIST_SET => list.set = attribute.str()?,
                uapi::NFTA_SET_ELEM_LIST_SET_ID => list.set_id = attribute.be32()?,
                uapi::NFTA_SET_ELEM_LIST_ELEMENTS => list.elements = attribute.nested(),
                _ => {}
            }
        }
        for (name, attribute) in
            [(list.table, uapi::NFTA_SET_ELEM_LIST_TABLE), (list.set, uapi::NFTA_SET_ELEM_LIST_SET)]
        {
            if name.is_empty() {
                return Err(DecodeError::Missing { attribute });
            }
        }
        Ok(list)
    }

    /// The elements of a message that was received.
    pub fn elements(&self) -> impl Iterator<Item = Result<Element<'a>, DecodeError>> + use<'a> {
        self.elements.map(|attribute| Element::decode(attribute?.nested()))
    }

    /// Writes everything but the elements themselves.
    pub(crate) fn encode_head(&self, writer: &mut AttrWriter) {
        writer.put_str(uapi::NFTA_SET_ELEM_LIST_TABLE, self.table);
        writer.put_str(uapi::NFTA_SET_ELEM_LIST_SET, self.set);
        if self.set_id != 0 {
            writer.put_be32(uapi::NFTA_SET_ELEM_LIST_SET_ID, self.set_id);
        }
    }
}
