//! Logs and counters. Logs go to standard error; counters are plain atomics in one table, shown
//! in `.mountable/stats.json` and in the log at the end.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, LogSettings};
use crate::error::{Error, Result};

/// Sends the process's log to standard error, filtered and formed as configured. A second call
/// changes nothing.
///
/// # Errors
/// `Invalid` if the filter cannot be read.
pub fn install(settings: &LogSettings) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.filter)
        .map_err(|error| Error::invalid("log filter").with("filter", error))?;
    install_to(settings.format, filter, std::io::stderr);
    Ok(())
}

fn install_to<W>(format: LogFormat, filter: EnvFilter, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let outcome = match format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().try_init(),
    };
    // A subscriber that is there already (a test's, an embedding program's) stays.
    drop(outcome);
}

/// Unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Events.
    Count,
    /// Rows.
    Rows,
}

/// A number that only grows.
#[derive(Debug)]
pub struct Counter {
    /// Name, stable over releases.
    pub name: &'static str,
    /// Unit.
    pub unit: Unit,
    /// What it counts.
    pub doc: &'static str,
    value: AtomicU64,
}

impl Counter {
    const fn new(name: &'static str, unit: Unit, doc: &'static str) -> Self {
        Self { name, unit, doc, value: AtomicU64::new(0) }
    }

    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.value.fetch_add(amount, Ordering::Relaxed);
    }

    /// What it stands at.
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($ident:ident, $name:literal, $unit:ident, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub static $ident: Counter = Counter::new($name, Unit::$unit, $doc);
        )*
        /// Every counter, in the order of the table.
        pub static COUNTERS: &[&Counter] = &[$(&$ident),*];
    };
}

counters! {
    COMMITS, "commits_total", Count, "Snapshots made.";
    COMMITS_WITHOUT_CHANGE, "commits_without_change_total", Count,
        "Changes that changed nothing and made no snapshot.";
    COMMIT_CONFLICTS, "commit_conflicts_total", Count,
        "Changes refused because of rows of somebody else or of keys.";
    ROWS_INSERTED, "rows_inserted_total", Rows, "Rows inserted by commits.";
    ROWS_UPDATED, "rows_updated_total", Rows, "Rows replaced by commits.";
    ROWS_DELETED, "rows_deleted_total", Rows, "Rows removed by commits.";
    COMPACTIONS, "compactions_total", Count, "Tables whose data files were put together.";
    SNAPSHOTS_MIRRORED, "snapshots_mirrored_total", Count, "Snapshots published in mirrors.";
    MIRROR_FAILURES, "mirror_failures_total", Count, "Refreshes of mirrors that failed.";
    CATALOG_ROUND_TRIPS, "catalog_round_trips_total", Count,
        "Calls of the catalogue: round trips to Redis, transactions of SQLite.";
    SAVES_REFUSED, "saves_refused_total", Count, "Saves refused and recorded in errors.csv.";
}

/// All counters as a JSON object `{name: value}`.
pub fn counters_json() -> serde_json::Map<String, serde_json::Value> {
    COUNTERS.iter().map(|counter| (counter.name.to_owned(), counter.value().into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_names_are_unique_and_say_their_kind() {
        let mut names: Vec<_> = COUNTERS.iter().map(|counter| counter.name).collect();
        assert!(names.iter().all(|name| name.ends_with("_total")));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COUNTERS.len());
        assert_eq!(counters_json().len(), COUNTERS.len());
    }

    #[test]
    fn bad_filter_is_refused() {
        let settings = LogSettings { filter: "mountable=loud".into(), format: LogFormat::Text };
        assert!(install(&settings).is_err());
    }
}
