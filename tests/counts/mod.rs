//! What a test counted: printed, and kept for the table at the end of `integration/run`.

use std::io::Write as _;

/// Takes a count down, as `WHAT: FIGURES`; only what this run has seen.
pub(crate) fn count(line: &str) {
    println!("COUNT {line}");
    if let Some(path) = std::env::var_os("MOUNTABLE_COUNTS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}
