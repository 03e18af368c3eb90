//! placeholder

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// User id.
    pub uid: u32,
    /// Where the user comes from.
    pub client: String,
    /// SuperTable role.
    pub role: String,
    /// Refuses every write.
    pub read_only: bool,
}
