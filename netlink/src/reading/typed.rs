//! The objects of a reading, decoded.

use super::Reader;
use crate::{
    Chain, DecodeError, Dump, ElementList, Error, Family, Flowtable, Message, Object, ObjectKind, Query,
    Rule, Set, Socket, Table, Text,
};

/// The objects of a reading, decoded.
macro_rules! typed_readings {
    ($reader:ty) => {
        impl $reader {
            /// Hands every table of a family, or of all with [`Family::Unspec`], to `each`.
            ///
            /// # Errors
            /// Those of `each` and of `read`.
            pub fn tables(
                &mut self,
                family: Family,
                each: impl FnMut(Table<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(&self.read(family, Query::Tables)?, Table::decode, each)
            }

            /// Hands every chain of a family, or of all with [`Family::Unspec`], to `each`.
            ///
            /// # Errors
            /// As `tables`.
            pub fn chains(
                &mut self,
                family: Family,
                each: impl FnMut(Chain<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(&self.read(family, Query::Chains)?, Chain::decode, each)
            }

            /// Hands every rule of a table, or of all tables, to `each`, chain by chain, in the order of evaluation. None if
            /// there is no such table.
            ///
            /// # Errors
            /// As `tables`.
            pub fn rules(
                &mut self,
                family: Family,
                table: Option<Text<'_>>,
                each: impl FnMut(Rule<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                let query = Query::Rules { table, chain: None };
                hand_out(&self.read(family, query)?, Rule::decode, each)
            }

            /// Hands every set of a table, or of all tables, to `each`, anonymous ones included.
            ///
            /// # Errors
            /// As `tables`; ENOENT if there is no such table.
            pub fn sets(
                &mut self,
                family: Family,
                table: Option<Text<'_>>,
                each: impl FnMut(Set<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(&self.read(family, Query::Sets { table })?, Set::decode, each)
            }

            /// Hands the elements of a set to `each`.
            ///
            /// # Errors
            /// As `tables`; ENOENT if there is no such set.
            pub fn elements<'n>(
                &mut self,
                family: Family,
                table: impl Into<Text<'n>>,
                set: impl Into<Text<'n>>,
                each: impl FnMut(ElementList<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(
                    &self.read(family, Query::Elements { table: table.into(), set: set.into() })?,
                    ElementList::decode,
                    each,
                )
            }

            /// Hands every object of a table, or of all tables, of one kind, or of all kinds, to `each`.
            ///
            /// # Errors
            /// As `tables`.
            pub fn objects(
                &mut self,
                family: Family,
                table: Option<Text<'_>>,
                kind: Option<ObjectKind>,
                each: impl FnMut(Object<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(&self.read(family, Query::Objects { table, kind })?, Object::decode, each)
            }

            /// Hands every flowtable of a table, or of all tables, to `each`.
            ///
            /// # Errors
            /// As `tables`.
            pub fn flowtables(
                &mut self,
                family: Family,
                table: Option<Text<'_>>,
                each: impl FnMut(Flowtable<'_>) -> Result<(), Error>,
            ) -> Result<(), Error> {
                hand_out(&self.read(family, Query::Flowtables { table })?, Flowtable::decode, each)
            }
        }
    };
}

typed_readings!(Reader<'_>);
typed_readings!(Socket);

fn hand_out<'d, T>(
    dump: &'d Dump,
    decode: impl Fn(&Message<'d>) -> Result<T, DecodeError>,
    mut each: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    dump.decode(decode).try_for_each(|object| each(object?))
}
