//! New rows: record batches to Parquet data files.

/// Rows that are written to data files but not yet part of any snapshot.
#[derive(Debug, Default)]
pub struct NewRows {
    /// Number of rows.
    pub rows: u64,
}
