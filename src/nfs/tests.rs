//! Wire-level tests: a real server on the loopback, a client made by hand whose messages are
//! packed and unpacked by `nfs3_types`, that is, not by the code under test.

mod client;
mod failures;
mod flow;
mod packets;
mod procedures;
mod scripted;

use std::sync::Arc;
use std::time::Duration;

use super::{MemoryFs, Server};
use crate::clock::SystemClock;
use crate::config::Settings;
use client::Client;
use scripted::Scripted;

/// A server over a file system in memory whose behaviour a test can change.
struct Lab {
    files: Arc<Scripted>,
    server: Server,
}

impl Lab {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { nfs: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
        settings.limits.idle = Duration::from_secs(20);
        change(&mut settings);
        let clock = Arc::new(SystemClock);
        let files = Arc::new(Scripted::new(MemoryFs::new(Arc::clone(&clock) as _, 64 << 20)));
        let server = Server::start(Arc::clone(&files) as _, &settings, clock).await.unwrap();
        Self { files, server }
    }

    async fn client(&self) -> Client {
        Client::connect(self.server.address()).await
    }
}
