//! `ORG/SUPER/TABLE@WHEN` on the command line.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::error::{Error, Result};
use crate::ident::{At, OrgName, SimpleName, SuperId, SuperName, TableId};

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
    /// Parses `""`, `ORG`, `ORG/SUPER` or `ORG/SUPER/TABLE`; a slash at either end and `.csv` are
    /// forgiven, so that paths below a mount point can be pasted.
    ///
    /// # Errors
    /// `Invalid` if a part is not an allowed name or there are too many.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let super_id = |organization: &str, super_name: &str| -> Result<SuperId> {
            Ok(SuperId {
                organization: OrgName::new(organization)?,
                super_name: SuperName::new(super_name)?,
            })
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

/// Parses `ORG/SUPER/TABLE[@VERSION|@TIME]`.
///
/// # Errors
/// `Invalid` if the name or what follows the `@` cannot be read.
pub(super) fn table_at(text: &str) -> Result<(TableId, At)> {
    match text.split_once('@') {
        Some((name, when)) => Ok((table(name)?, parse_when(when)?)),
        None => Ok((table(text)?, At::Latest)),
    }
}

/// A version (`12`, `v12`), an RFC 3339 time, a UTC time without zone or a date; a date means the
/// last snapshot of that day (UTC).
fn parse_when(text: &str) -> Result<At> {
    if let Ok(version) = text.strip_prefix('v').unwrap_or(text).parse::<u64>() {
        return Ok(At::Version(version));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(At::Time(time.timestamp_millis()));
    }
    for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
    {
        if let Ok(time) = NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), form) {
            return Ok(At::Time(time.and_utc().timestamp_millis()));
        }
    }
    let end_of_day = NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .and_then(|date| date.and_hms_milli_opt(23, 59, 59, 999));
    match end_of_day {
        Some(time) => Ok(At::Time(time.and_utc().timestamp_millis())),
        None => Err(Error::invalid(
            "after @ comes a version (12), a time (2026-11-21T09:15:00Z) or a date (2026-11-21)",
        )
        .with("got", text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn versions_times_and_dates_follow_the_at_sign() {
        let at = |text: &str| table_at(&format!("a/b/c@{text}")).unwrap().1;
        assert_eq!(at("12"), At::Version(12));
        assert_eq!(at("v0"), At::Version(0));
        assert_eq!(at("1970-01-01T00:00:01Z"), At::Time(1000));
        assert_eq!(at("1970-01-01T01:00:01+01:00"), At::Time(1000));
        assert_eq!(at("1970-01-01T00:01"), At::Time(60_000));
        assert_eq!(at("1970-01-01"), At::Time(86_399_999));
        assert!(table_at("a/b/c@yesterday").is_err());
        assert!(table_at("a/b/c@").is_err());
    }
}
