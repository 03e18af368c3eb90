//! What a check has to say.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Not as it should be; no row is at risk, or it heals by itself.
    Warning,
    /// Rows cannot be read, are wrong or are not reachable.
    Error,
}

impl Severity {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which check found it; these names are stable (docs/OPERATIONS.md lists them).
    pub check: &'static str,
    /// What it is about: a table, a SuperTable, a back end.
    pub place: String,
    /// The object's path, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What is the matter.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    /// Makes a finding.
    pub fn new(
        severity: Severity,
        check: &'static str,
        place: impl ToString,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            check,
            place: place.to_string(),
            object: None,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// Names the object.
    #[must_use]
    pub fn on(mut self, path: impl Into<String>) -> Self {
        self.object = Some(path.into());
        self
    }
}
