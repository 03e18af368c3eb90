//! A real Redis server of our own for one test, on a free port of this machine.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mountable::catalog::{RedisCatalog, RedisOptions};
use mountable::clock::{Clock, SystemClock};
use mountable::config::RedisSettings;

/// A running server; ends with the value.
#[derive(Debug)]
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl RedisServer {
    /// Starts a server. A machine without `redis-server` fails the test: the contract with Redis
    /// must not go untested unnoticed.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        for _ in 0..5 {
            let directory = tempfile::tempdir().expect("temporary directory");
            let port = free_port();
            let child = spawn(directory.path(), port, arguments);
            let mut server = Self { child, port, directory };
            if server.answers().await {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// Kills the server and starts it again on the same port, empty.
    pub(crate) async fn restart(&mut self, pause: Duration) {
        self.stop();
        SystemClock.sleep(pause).await;
        self.child = spawn(self.directory.path(), self.port, &[]);
        assert!(self.answers().await, "redis-server does not start again");
    }

    /// Kills the server.
    pub(crate) fn stop(&mut self) {
        self.child.kill().expect("kill own server");
        self.child.wait().expect("wait for own server");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// A catalogue on this server.
    pub(crate) async fn catalog(&self) -> RedisCatalog {
        let options = RedisOptions { url: self.url(), settings: RedisSettings::default() };
        RedisCatalog::connect(&options, Arc::new(SystemClock)).await.expect("connects")
    }

    /// A plain connection, to look at what is stored.
    pub(crate) async fn raw(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("address");
        client.get_multiplexed_async_connection().await.expect("connects")
    }

    async fn answers(&mut self) -> bool {
        for _ in 0..1_500 {
            if self.child.try_wait().expect("state of own server").is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            SystemClock.sleep(Duration::from_millis(25)).await;
        }
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind");
    listener.local_addr().expect("address").port()
}

fn spawn(directory: &Path, port: u16, arguments: &[&str]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "no", "--dir"])
        .arg(directory)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server must be installed (apt-get install redis-server)")
}
