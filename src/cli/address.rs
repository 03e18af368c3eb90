//! `ORG/SUPER/TABLE@WHEN` on the command line.

use crate::error::{Error, Result};
use crate::ident::{OrgName, SimpleName, SuperId, TableId};
use crate::lake::Reference;

/// A place in the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// All of it.
    Lake,
    /// An organization.
    Organization(OrgName),
    /// A SuperTable.
    Super(SuperId),
    /// A table.
    Table(TableId),
}

impl Place {
    /// Parses `""`, `ORG`, `ORG/SUPER` or `ORG/SUPER/TABLE`, where `SUPER@BRANCH` may stand for
    /// `SUPER`; a slash at either end and `.csv` are
    /// forgiven, so that paths below a mount point can be pasted.
    ///
    /// # Errors
    /// `Invalid` if a part is not an allowed name or there are too many.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let super_id = |organization: &str, super_name: &str| {
            SuperId::parse(&format!("{organization}/{super_name}"))
        };
        match parts.as_slice() {
            [] => Ok(Self::Lake),
            [organization] => Ok(Self::Organization(OrgName::new(organization)?)),
            [organization, super_name] => Ok(Self::Super(super_id(organization, super_name)?)),
            [organization, super_name, table] => {
                let name = SimpleName::new(table.strip_suffix(".csv").unwrap_or(table))?;
                Ok(Self::Table(super_id(organization, super_name)?.table(name)))
            }
            _ => Err(Error::invalid("expected at most ORG/SUPER/TABLE").with("got", text)),
        }
    }
}

/// Parses `ORG/SUPER/TABLE`.
///
/// # Errors
/// `Invalid` if it is anything else.
pub(super) fn table(text: &str) -> Result<TableId> {
    match Place::parse(text)? {
        Place::Table(id) => Ok(id),
        _ => Err(Error::invalid("expected ORG/SUPER/TABLE").with("got", text)),
    }
}

/// Parses `ORG/SUPER/TABLE[@VERSION|@TIME][~N]`.
///
/// # Errors
/// `Invalid` if the name or what follows it cannot be read.
pub(super) fn table_at(text: &str) -> Result<(TableId, Reference)> {
    // In front of the last slash, it is a branch that follows the `@`.
    let last = text.trim_end_matches('/').rfind('/').unwrap_or_default();
    let (above, rest) = text.split_at(last);
    if let Some((name, when)) = rest.split_once('@') {
        return Ok((table(&format!("{above}{name}"))?, Reference::parse(when)?));
    }
    match rest.find('~') {
        Some(at) => {
            let (name, back) = text.split_at(last + at);
            Ok((table(name)?, Reference::parse(back)?))
        }
        None => Ok((table(text)?, Reference::NEWEST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::At;

    #[test]
    fn places_of_every_depth_are_understood() {
        assert_eq!(Place::parse("/").unwrap(), Place::Lake);
        assert!(matches!(Place::parse("acme/").unwrap(), Place::Organization(_)));
        assert!(matches!(Place::parse("acme/shop").unwrap(), Place::Super(_)));
        assert_eq!(table("/acme/shop/orders.csv").unwrap().to_string(), "acme/shop/orders");
        assert!(Place::parse("a/b/c/d").is_err());
        assert!(Place::parse("a/../c").is_err());
        assert!(table("acme/shop").is_err());
    }

    #[test]
    fn versions_times_and_distances_follow_the_name() {
        let at = |text: &str| {
            let (id, reference) = table_at(text).unwrap();
            assert_eq!(id.to_string(), "a/b/c");
            (reference.at, reference.back)
        };
        assert_eq!(at("a/b/c"), (At::Latest, 0));
        assert_eq!(at("a/b/c.csv~2"), (At::Latest, 2));
        assert_eq!(at("a/b/c@12"), (At::Version(12), 0));
        assert_eq!(at("a/b/c@v12~"), (At::Version(12), 1));
        assert_eq!(at("a/b/c@1970-01-01"), (At::Time(86_399_999), 0));
        let (id, reference) = table_at("a/b@dev/c@3~1").unwrap();
        assert_eq!((id.to_string().as_str(), reference.back), ("a/b@dev/c", 1));
        assert_eq!(table_at("a/b@dev/c.csv").unwrap().0.to_string(), "a/b@dev/c");
        assert!(matches!(Place::parse("a/b@dev").unwrap(), Place::Super(_)));
        assert!(Place::parse("a@dev/b").is_err());
        for bad in ["a/b/c@yesterday", "a/b/c@", "a/b/c~x", "a/b~1"] {
            assert!(table_at(bad).is_err(), "{bad}");
        }
    }
}
