//! One object by its name, without a dump of all others.

use crate::Text;
use crate::{Chain, Element, ElementList, Error, Family, Object, ObjectKind, Rule, Set, Socket, uapi};

impl Socket {
    /// One set of a table, without its elements.
    ///
    /// # Errors
    /// ENOENT if the table or the set does not exist; those of `each`.
    pub fn set(
        &mut self,
        family: Family,
        table: Text<'_>,
        set: Text<'_>,
        mut each: impl FnMut(Set<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.request(
            uapi::NFT_MSG_GETSET,
            0,
            family,
            |writer| {
                writer.put_text(uapi::NFTA_SET_TABLE, table);
                writer.put_text(uapi::NFTA_SET_NAME, set);
            },
            |message| each(Set::decode(message)?),
        )
    }

    /// One chain of a table.
    ///
    /// # Errors
    /// ENOENT if the table or the chain does not exist; those of `each`.
    pub fn chain(
        &mut self,
        family: Family,
        table: Text<'_>,
        chain: Text<'_>,
        mut each: impl FnMut(Chain<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.request(
            uapi::NFT_MSG_GETCHAIN,
            0,
            family,
            |writer| {
                writer.put_text(uapi::NFTA_CHAIN_TABLE, table);
                writer.put_text(uapi::NFTA_CHAIN_NAME, chain);
            },
            |message| each(Chain::decode(message)?),
        )
    }

    /// One object of a table; with `reset`, its counter or consumption is set to zero, and `each` sees what was before.
    ///
    /// # Errors
    /// ENOENT if the table or the object does not exist; those of `each`.
    pub fn object(
        &mut self,
        family: Family,
        table: Text<'_>,
        (kind, name): (ObjectKind, &str),
        reset: bool,
        mut each: impl FnMut(Object<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.request(
            if reset { uapi::NFT_MSG_GETOBJ_RESET } else { uapi::NFT_MSG_GETOBJ },
            0,
            family,
            |writer| {
                writer.put_text(uapi::NFTA_OBJ_TABLE, table);
                writer.put_text(uapi::NFTA_OBJ_NAME, name);
                writer.put_be32(uapi::NFTA_OBJ_TYPE, kind.number());
            },
            |message| each(Object::decode(message)?),
        )
    }

    /// One rule; its counters, quotas and times are set to zero (from 6.2 on), and `each` sees what was before.
    ///
    /// # Errors
    /// ENOENT if the table, the chain or the rule does not exist; EINVAL before 6.2; those of `each`.
    pub fn reset_rule(
        &mut self,
        family: Family,
        table: Text<'_>,
        (chain, handle): (Text<'_>, u64),
        mut each: impl FnMut(Rule<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.request(
            uapi::NFT_MSG_GETRULE_RESET,
            0,
            family,
            |writer| {
                writer.put_text(uapi::NFTA_RULE_TABLE, table);
                writer.put_text(uapi::NFTA_RULE_CHAIN, chain);
                writer.put_be64(uapi::NFTA_RULE_HANDLE, handle);
            },
            |message| each(Rule::decode(message)?),
        )
    }

    /// The elements of a set that these keys are in.
    ///
    /// # Errors
    /// ENOENT if the table, the set or one of the elements does not exist; those of `each`.
    pub fn get_elements(
        &mut self,
        list: &ElementList<'_>,
        elements: &[Element<'_>],
        reset: bool,
        mut each: impl FnMut(ElementList<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let kind = if reset { uapi::NFT_MSG_GETSETELEM_RESET } else { uapi::NFT_MSG_GETSETELEM };
        // The kernel answers each key with a message of its own; one request for each keeps them apart.
        for element in elements {
            self.request(
                kind,
                0,
                list.family,
                |writer| list.encode_with(writer, std::slice::from_ref(element)),
                |message| each(ElementList::decode(message)?),
            )?;
        }
        Ok(())
    }
}
