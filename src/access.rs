//! placeholder

use crate::config::Settings;

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// User id.
    pub uid: u32,
    /// User name, or the uid as text.
    pub name: String,
    /// Client: address, `cli`.
    pub client: String,
    /// SuperTable role.
    pub role: String,
}

impl Principal {
    /// The user of this process, in the gateway's role.
    pub fn local(settings: &Settings) -> Self {
        let uid = rustix::process::getuid().as_raw();
        Self { uid, name: uid.to_string(), client: "cli".to_owned(), role: settings.role.clone() }
    }
}
