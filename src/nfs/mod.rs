//! placeholder

use std::net::SocketAddr;
use std::sync::Arc;

use crate::clock::SharedClock;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::vfs::FileSystem;

/// The service.
#[derive(Debug)]
pub struct Server(SocketAddr);

impl Server {
    /// Starts.
    #[allow(clippy::missing_errors_doc, clippy::unused_async)]
    pub async fn start(_: Arc<dyn FileSystem>, _: &Settings, _: SharedClock) -> Result<Self> {
        Err(Error::unsupported("placeholder"))
    }
    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.0
    }
    /// Stops.
    pub async fn stop(self, _: std::time::Duration) {}
}
