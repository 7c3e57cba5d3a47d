//! Enums whose values are words in tables, documents and commands: one list of words per enum, so that reading, writing
//! and the message about a wrong word cannot disagree.
use std::fmt;

/// A word that is not on the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} '{given}': use {}", Choice(.allowed))]
pub struct UnknownWord {
    /// What the word was to name, such as `cadence`.
    pub what: &'static str,
    /// What was given.
    pub given: String,
    /// The words there are.
    pub allowed: &'static [&'static str],
}

/// Shows a list as `a, b or c`.
struct Choice<'a>(&'a [&'static str]);

impl fmt::Display for Choice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [first @ .., before, last] => {
                for word in first {
                    write!(f, "{word}, ")?;
                }
                write!(f, "{before} or {last}")
            }
            words => f.write_str(&words.concat()),
        }
    }
}

/// Declares an enum of words with `as_str`, `Display`, `FromStr` (which knows the words) and serde as a string.
macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident, $what:literal: $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every value, in the order declared.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::words::UnknownWord;

            fn from_str(given: &str) -> ::std::result::Result<Self, Self::Err> {
                match given {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::domain::words::UnknownWord {
                        what: $what,
                        given: given.to_owned(),
                        allowed: &[$($word),+],
                    }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> ::std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use word_enum;

#[cfg(test)]
mod tests {
    word_enum!(
        /// A fruit.
        Fruit, "fruit":
        /// Red.
        Apple = "apple",
        /// Yellow.
        Pear = "pear",
        /// Blue.
        Plum = "plum",
    );

    #[test]
    fn every_word_round_trips_and_a_wrong_one_is_told_the_right_ones() {
        for fruit in Fruit::ALL {
            assert_eq!(fruit.as_str().parse(), Ok(*fruit));
            assert_eq!(serde_json::to_string(fruit).unwrap(), format!("\"{fruit}\""));
        }
        let message = "unknown fruit 'Apple': use apple, pear or plum";
        assert_eq!("Apple".parse::<Fruit>().unwrap_err().to_string(), message);
        assert_eq!(
            serde_json::from_str::<Fruit>("\"Apple\"")
                .unwrap_err()
                .to_string(),
            message
        );
    }
}
