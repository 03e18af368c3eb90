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
/// Stands between a SuperTable and its branch: `sales@dev`. No name of a user holds it.
const BRANCH_MARK: char = '@';
/// What the names of the branches begin with that are transactions. No name of a user holds a dot.
const TRANSACTION: &str = "tx.";

/// What stands for the SuperTable itself where a branch could be named.
pub const MAIN: &str = "main";

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

name_type!(
    /// Name of a branch: the same rule as a SuperTable; a transaction has `tx.` in front of it.
    BranchName,
    check_branch
);

impl BranchName {
    /// The branch behind the transaction `text`.
    ///
    /// # Errors
    /// `Invalid` if the transaction cannot have this name.
    pub fn transaction(text: &str) -> Result<Self> {
        check_segment(text)?;
        Self::new(&format!("{TRANSACTION}{text}"))
    }

    /// The transaction's name, if the branch is one.
    pub fn as_transaction(&self) -> Option<&str> {
        self.0.strip_prefix(TRANSACTION)
    }
}

impl SuperName {
    /// The name of a branch of this SuperTable. Only branches have names with a `@`.
    ///
    /// # Errors
    /// `Unsupported` if this is a branch.
    pub fn on_branch(&self, branch: &BranchName) -> Result<Self> {
        if self.branch().is_some() {
            return Err(Error::unsupported("a branch has no branches").with("branch", self));
        }
        Ok(Self(format!("{}{BRANCH_MARK}{branch}", self.0).into()))
    }

    /// The branch, if this is one.
    pub fn branch(&self) -> Option<BranchName> {
        self.0.split_once(BRANCH_MARK).map(|(_, branch)| BranchName(branch.into()))
    }

    /// The SuperTable itself, whatever its branch.
    #[must_use]
    pub fn main(&self) -> Self {
        match self.0.split_once(BRANCH_MARK) {
            Some((main, _)) => Self(main.into()),
            None => self.clone(),
        }
    }

    /// Parses `super` or `super@branch`.
    fn parse(text: &str) -> Result<Self> {
        match text.split_once(BRANCH_MARK) {
            Some((main, branch)) => Self::new(main)?.on_branch(&BranchName::new(branch)?),
            None => Self::new(text),
        }
    }
}

fn check_branch(text: &str) -> Result<()> {
    if text == MAIN {
        return Err(Error::invalid("this name stands for the SuperTable itself").with("name", text));
    }
    check_segment(text.strip_prefix(TRANSACTION).unwrap_or(text))
}

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

    /// The same SuperTable on a branch.
    ///
    /// # Errors
    /// `Unsupported` if this is a branch.
    pub fn on_branch(&self, branch: &BranchName) -> Result<Self> {
        let super_name = self.super_name.on_branch(branch)?;
        Ok(Self { organization: self.organization.clone(), super_name })
    }

    /// The branch, if this is one.
    pub fn branch(&self) -> Option<BranchName> {
        self.super_name.branch()
    }

    /// The SuperTable itself, whatever its branch.
    #[must_use]
    pub fn main(&self) -> Self {
        Self { organization: self.organization.clone(), super_name: self.super_name.main() }
    }

    /// Parses `org/super` or `org/super@branch`.
    ///
    /// # Errors
    /// `Invalid` if it is not made of allowed names.
    pub fn parse(text: &str) -> Result<Self> {
        let (organization, super_name) = text
            .split_once('/')
            .ok_or_else(|| Error::invalid("expected ORG/SUPER").with("got", printable(text)))?;
        Ok(Self {
            organization: OrgName::new(organization)?,
            super_name: SuperName::parse(super_name)?,
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
    /// Parses `org/super/table` or `org/super@branch/table`.
    ///
    /// # Errors
    /// `Invalid` if it is not made of allowed names.
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
    fn only_the_constructors_of_branches_make_names_of_branches() {
        for bad in ["shop@dev", "shop@", "@dev", "tx.a"] {
            assert!(SuperName::new(bad).is_err(), "{bad}");
        }
        let id = SuperId::parse("acme/shop@dev").expect("valid id");
        assert_eq!(id.to_string(), "acme/shop@dev");
        assert_eq!(id.main().to_string(), "acme/shop");
        assert_eq!(id.branch().expect("a branch").as_str(), "dev");
        assert!(id.main().branch().is_none());
        assert!(id.on_branch(&BranchName::new("x").expect("valid")).is_err());
        for bad in [
            "acme/shop@",
            "acme/@dev",
            "acme/shop@main",
            "acme/shop@a@b",
            "acme/shop@..",
            "acme@dev/shop",
        ] {
            assert!(SuperId::parse(bad).is_err(), "{bad}");
        }
        let transaction = BranchName::transaction("fix1").expect("valid");
        assert_eq!(transaction.as_str(), "tx.fix1");
        assert_eq!(transaction.as_transaction(), Some("fix1"));
        assert_eq!(BranchName::new("dev").expect("valid").as_transaction(), None);
        assert!(BranchName::transaction("tx.a").is_err());
        let table = TableId::parse("acme/shop@tx.fix1/orders").expect("valid id");
        assert_eq!(table.super_id().branch(), Some(transaction));
    }

    #[test]
    fn table_id_round_trips_through_its_text() {
        let id = TableId::parse("acme/shop-2/order_lines").expect("valid id");
        assert_eq!(id.to_string(), "acme/shop-2/order_lines");
        assert_eq!(id.super_id().to_string(), "acme/shop-2");
    }
}
