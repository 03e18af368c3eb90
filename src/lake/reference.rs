//! Which version of a table is meant, as people write it: `12`, `v12`, a time, a date, `~2`.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::error::{Error, Result};
use crate::ident::At;

/// A version and how many versions before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Where to begin.
    pub at: At,
    /// How many versions before that, as git's `~`.
    pub back: u64,
}

impl Reference {
    /// The newest version.
    pub const NEWEST: Self = Self { at: At::Latest, back: 0 };

    /// Reads `VERSION`, `vVERSION`, a time, a date (its last version) or nothing (the newest one),
    /// each optionally followed by `~` or `~N`.
    ///
    /// # Errors
    /// `Invalid` if it is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let (when, steps) = match text.find('~') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let mut back = 0_u64;
        for step in steps.split('~').skip(1) {
            let count = if step.is_empty() { Ok(1) } else { step.parse::<u64>() };
            back = count
                .ok()
                .and_then(|count| back.checked_add(count))
                .ok_or_else(|| unreadable(text))?;
        }
        let at = if when.is_empty() && !steps.is_empty() {
            At::Latest
        } else {
            parse_when(when).ok_or_else(|| unreadable(text))?
        };
        Ok(Self { at, back })
    }
}

impl From<At> for Reference {
    fn from(at: At) -> Self {
        Self { at, back: 0 }
    }
}

fn unreadable(text: &str) -> Error {
    Error::invalid(
        "a version is named by its number (12), a time (2026-11-21T09:15:00Z), a date (2026-11-21) \
         or its distance from one of them (~2, 12~1)",
    )
    .with("got", text)
}

fn parse_when(text: &str) -> Option<At> {
    if let Ok(version) = text.strip_prefix('v').unwrap_or(text).parse::<u64>() {
        return Some(At::Version(version));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(At::Time(time.timestamp_millis()));
    }
    // Without colons too: some file managers cannot type them.
    for form in [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H%M%S",
    ] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), form) {
            return Some(At::Time(time.and_utc().timestamp_millis()));
        }
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    let end = date.and_hms_milli_opt(23, 59, 59, 999)?;
    Some(At::Time(end.and_utc().timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_times_dates_and_distances_are_understood() {
        let parse = |text: &str| Reference::parse(text).map(|r| (r.at, r.back)).ok();
        assert_eq!(parse("12"), Some((At::Version(12), 0)));
        assert_eq!(parse("v0"), Some((At::Version(0), 0)));
        assert_eq!(parse("1970-01-01T00:00:01Z"), Some((At::Time(1000), 0)));
        assert_eq!(parse("1970-01-01T000001Z"), Some((At::Time(1000), 0)));
        assert_eq!(parse("1970-01-01T01:00:01+01:00"), Some((At::Time(1000), 0)));
        assert_eq!(parse("1970-01-01T00:01~2"), Some((At::Time(60_000), 2)));
        assert_eq!(parse("1970-01-01"), Some((At::Time(86_399_999), 0)));
        assert_eq!(parse("~"), Some((At::Latest, 1)));
        assert_eq!(parse("~3"), Some((At::Latest, 3)));
        assert_eq!(parse("~~"), Some((At::Latest, 2)));
        assert_eq!(parse("12~2~1"), Some((At::Version(12), 3)));
        for bad in ["", "yesterday", "12~x", "~-1", "12~18446744073709551615~1", "12 ~1", "x~1"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
