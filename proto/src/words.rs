//! The words that the contract and both planes mean alike, each defined once: as the wire has it, as databases, logs and people
//! spell it, and as a Rust type that holds nothing else.

mod access;
mod content;
mod error;
mod tag;
mod upstream;

pub use access::{AuditOutcome, MissingTag, Role, TokenKind, Visibility};
pub use content::{ContentKind, CorruptionKind, Descriptor, GroupId, Link, RepositoryRef};
pub use error::{ERROR_DOMAIN, ErrorReason};
pub use tag::{RefusalReason, StaleReason};
pub use upstream::UpstreamHealth;

/// A word that is not one of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given} is not a {kind}: {known}")]
pub struct UnknownWord {
    /// The word or number that was given.
    pub given: String,
    /// The kind of word that was expected.
    pub kind: &'static str,
    /// The words that there are, separated by commas.
    pub known: String,
}

/// A field of a message that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidField {
    /// The path of the field: `link.digest`.
    pub field: String,
    /// The fault.
    pub message: String,
}

impl InvalidField {
    /// Names the field `field` and what is wrong with it.
    pub fn new(field: impl Into<String>, message: impl ToString) -> Self {
        Self { field: field.into(), message: message.to_string() }
    }

    /// The same, where the message that has the field is itself the field `parent` of another.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        Self { field: format!("{parent}.{}", self.field), ..self }
    }
}

/// Parses the text of a field.
pub fn parse_field<T: std::str::FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, InvalidField> {
    text.parse().map_err(|error: T::Err| InvalidField::new(field, error))
}

/// Reads a size or a count, which are `int64` on the wire and never negative.
pub fn size_field(field: &str, value: i64) -> Result<u64, InvalidField> {
    u64::try_from(value).map_err(|_| InvalidField::new(field, format_args!("must not be negative, and is {value}")))
}

/// Writes a size or a count; none is larger than the wire's numbers.
pub fn size_to_wire(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Defines a closed set of words together with the enum of the contract that carries them.
macro_rules! words {
    (
        $(#[$doc:meta])*
        $name:ident, $wire:ty, $kind:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// Every word, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as databases, logs and people spell it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            /// Reads the enum's number; `None` if it says nothing.
            pub fn from_wire(number: i32) -> Result<Option<Self>, $crate::UnknownWord> {
                match <$wire>::try_from(number) {
                    $(Ok(<$wire>::$variant) => Ok(Some(Self::$variant)),)+
                    _ if number == 0 => Ok(None),
                    _ => Err(Self::unknown(number.to_string())),
                }
            }

            fn unknown(given: String) -> $crate::UnknownWord {
                $crate::UnknownWord { given, kind: $kind, known: [$($word),+].join(", ") }
            }
        }

        /// A word that must be said.
        impl TryFrom<i32> for $name {
            type Error = $crate::UnknownWord;

            fn try_from(number: i32) -> Result<Self, $crate::UnknownWord> {
                Self::from_wire(number)?.ok_or_else(|| Self::unknown(number.to_string()))
            }
        }

        impl From<$name> for $wire {
            fn from(word: $name) -> Self {
                match word {
                    $($name::$variant => Self::$variant),+
                }
            }
        }

        impl From<$name> for i32 {
            fn from(word: $name) -> Self {
                <$wire>::from(word).into()
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownWord;

            fn from_str(text: &str) -> Result<Self, $crate::UnknownWord> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    Self::unknown(format!("{:?}", text.chars().take(64).collect::<String>()))
                })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
use words;

#[cfg(test)]
mod tests;
