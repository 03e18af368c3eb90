//! Names: organization, SuperTable, SimpleTable, and which version of a table is meant.
//!
//! Every name that comes from a client is validated here before it can become part of an object
//! path or a catalogue key (the Python library does not: format spec section 8.20).

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Longest organization or SuperTable name, in bytes (format spec section 6.1).
const SEGMENT_BYTES_MAX: usize = 64;
/// Longest SimpleTable name, in bytes (format spec section 1).
const TABLE_BYTES_MAX: usize = 128;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Validates `text`.
            ///
            /// # Errors
            /// `Invalid` with the rule that the name breaks.
            pub fn new(text: &str) -> Result<Self> {
                $check(text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// Name of an organization: `^[a-z0-9][a-z0-9_-]{0,63}$` (key layout v2).
    OrgName,
    check_segment
);
name_type!(
    /// Name of a SuperTable: the same rule as an organization.
    SuperName,
    check_segment
);
name_type!(
    /// Name of a SimpleTable: `^[a-z][a-z0-9_]{0,63}$` (the v1 table rule and the v2 segment
    /// rule together).
    SimpleName,
    check_table
);

fn check_segment(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    let head = bytes.first().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let tail = bytes
        .iter()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
    if head && tail && bytes.len() <= SEGMENT_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(
        "name not allowed: use 1 to 64 lower-case letters, digits, _ and -, beginning with a \
         letter or digit",
    )
    .with("name", printable(text)))
}

fn check_table(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    let head = bytes.first().is_some_and(u8::is_ascii_lowercase);
    let tail =
        bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_'));
    if head && tail && bytes.len() <= SEGMENT_BYTES_MAX.min(TABLE_BYTES_MAX) {
        return Ok(());
    }
    Err(Error::invalid(
        "table name not allowed: use 1 to 64 lower-case letters, digits and _, beginning with a \
         letter",
    )
    .with("name", printable(text)))
}

/// The text with control characters escaped, for messages.
fn printable(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

/// A SuperTable within its organization.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SuperId {
    /// The organization.
    pub organization: OrgName,
    /// The SuperTable.
    pub super_name: SuperName,
}

impl SuperId {
    /// A SimpleTable of this SuperTable.
    pub fn table(&self, simple_name: SimpleName) -> TableId {
        TableId {
            organization: self.organization.clone(),
            super_name: self.super_name.clone(),
            simple_name,
        }
    }

    /// Parses `org/super`.
    ///
    /// # Errors
    /// `Invalid` if it is not two allowed names.
    pub fn parse(text: &str) -> Result<Self> {
        let (organization, super_name) = text
            .split_once('/')
            .ok_or_else(|| Error::invalid("expected ORG/SUPER").with("got", printable(text)))?;
        Ok(Self {
            organization: OrgName::new(organization)?,
            super_name: SuperName::new(super_name)?,
        })
    }
}

impl fmt::Display for SuperId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.organization, self.super_name)
    }
}

/// A SimpleTable with its whole path of names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId {
    /// The organization.
    pub organization: OrgName,
    /// The SuperTable.
    pub super_name: SuperName,
    /// The SimpleTable.
    pub simple_name: SimpleName,
}

impl TableId {
    /// Parses `org/super/table`.
    ///
    /// # Errors
    /// `Invalid` if it is not three allowed names.
    pub fn parse(text: &str) -> Result<Self> {
        let (above, simple_name) = text.rsplit_once('/').ok_or_else(|| {
            Error::invalid("expected ORG/SUPER/TABLE").with("got", printable(text))
        })?;
        Ok(SuperId::parse(above)?.table(SimpleName::new(simple_name)?))
    }

    /// The SuperTable that holds this table.
    pub fn super_id(&self) -> SuperId {
        SuperId { organization: self.organization.clone(), super_name: self.super_name.clone() }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.organization, self.super_name, self.simple_name)
    }
}

/// Which snapshot of a table is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// The newest one.
    Latest,
    /// The one with this version number.
    Version(u64),
    /// The newest one committed at or before this time, in milliseconds since 1970 (UTC).
    Time(i64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_escape_a_path_or_key_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "a:b", "A", "a b", "a*", "-a", "\u{e9}", "a\0"] {
            assert!(OrgName::new(bad).is_err(), "{bad:?}");
            assert!(SimpleName::new(bad).is_err(), "{bad:?}");
        }
        assert!(OrgName::new(&"a".repeat(65)).is_err());
        assert!(SimpleName::new("1a").is_err());
        assert!(SimpleName::new("a-b").is_err());
    }

    #[test]
    fn table_id_round_trips_through_its_text() {
        let id = TableId::parse("acme/shop-2/order_lines").expect("valid id");
        assert_eq!(id.to_string(), "acme/shop-2/order_lines");
        assert_eq!(id.super_id().to_string(), "acme/shop-2");
    }
}
