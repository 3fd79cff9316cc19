//! Numbers of the kernel that have names.

/// Declares a type for a number of the kernel's, with a constant for each number that has a name.
///
/// Not an enum: a number that gets a name later still is the value that it was, and nobody matches all of them. The
/// constants are written as variants would be, because they are used as such.
macro_rules! kernel_number {
    ($(#[$doc:meta])* $name:ident: $repr:ty {
        $($(#[$constant_doc:meta])* $constant:ident = $number:expr,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name($repr);

        #[allow(non_upper_case_globals, reason = "they are used as an enum's variants are")]
        impl $name {
            $($(#[$constant_doc])* pub const $constant: Self = Self($number);)+

            /// The value with this number, whether or not it has a name here.
            #[must_use]
            pub const fn from_number(number: $repr) -> Self {
                Self(number)
            }

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> $repr {
                self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match *self {
                    $(Self::$constant => f.write_str(stringify!($constant)),)+
                    Self(number) => f.debug_tuple(stringify!($name)).field(&number).finish(),
                }
            }
        }

        #[cfg(test)]
        impl $name {
            /// Those that have a name here.
            pub(crate) const NAMED: &[(&str, Self)] = &[$((stringify!($constant), Self::$constant),)+];
        }
    };
}
pub(crate) use kernel_number;

#[cfg(test)]
mod tests {
    use std::fmt;

    use crate::events::TraceKind;
    use crate::expr::{
        ByteorderOp, CmpOp, CtKey, DynsetOp, ExthdrOp, FibResult, HashKind, InnerKind, LimitKind, LogLevel,
        MetaKey, NatKind, NumgenKind, PayloadBase, RejectKind, RtKey, SocketKey, TunnelKey, TunnelMode,
        XfrmKey,
    };
    use crate::userdata::ByteOrder;
    use crate::{Family, Hook, ObjectKind, SetPolicy};

    fn check<T: Copy + Eq + fmt::Debug>(
        type_name: &str,
        named: &[(&str, T)],
        from_number: fn(u32) -> Option<T>,
        number: fn(T) -> u32,
    ) {
        let last = named.iter().map(|(_, value)| number(*value)).max().unwrap();
        for one in (0..=last + 2).chain([255, 256, u32::MAX]) {
            let Some(value) = from_number(one) else { continue };
            assert_eq!(number(value), one, "{type_name}");
            for other in 0..=last + 2 {
                if let Some(other_value) = from_number(other) {
                    assert_eq!(value == other_value, one == other, "{type_name} {one} and {other}");
                }
            }
            let name = named.iter().find(|(_, named)| *named == value).map(|(name, _)| (*name).to_owned());
            assert_eq!(format!("{value:?}"), name.unwrap_or_else(|| format!("{type_name}({one})")));
        }
        for (name, value) in named {
            let same = named.iter().filter(|(_, other)| other == value).count();
            assert_eq!(same, 1, "{type_name} {name} is the only name of its number");
        }
    }

    /// A number is the value, whether or not it has a name: two that have the same one cannot differ.
    #[test]
    fn are_compared_by_number() {
        macro_rules! check_all {
            ($($name:ident),+) => {
                $(check(
                    stringify!($name),
                    $name::NAMED,
                    |number| number.try_into().ok().map($name::from_number),
                    |value| value.number().into(),
                );)+
            };
        }
        check_all!(
            ByteOrder,
            ByteorderOp,
            CmpOp,
            CtKey,
            DynsetOp,
            ExthdrOp,
            Family,
            FibResult,
            HashKind,
            Hook,
            InnerKind,
            LimitKind,
            LogLevel,
            MetaKey,
            NatKind,
            NumgenKind,
            ObjectKind,
            PayloadBase,
            RejectKind,
            RtKey,
            SetPolicy,
            SocketKey,
            TraceKind,
            TunnelKey,
            TunnelMode,
            XfrmKey
        );
    }
}
