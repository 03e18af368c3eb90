//! The connection to Redis: made when needed, given up when it fails, every call bounded in time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind as RedisKind,
    FromRedisValue, IntoConnectionInfo, RedisError, RedisResult, Script, ServerErrorKind, TlsMode,
    Value,
};
use tokio::sync::Mutex;

use super::RedisOptions;
use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry;

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// After this time a failed call is not repeated any more.
const RETRY_WINDOW: Duration = Duration::from_secs(3);
/// First and longest pause before a call is repeated.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// While the last failure to connect is younger than this, it is the answer: waiting calls do not
/// try a dead server one after the other.
const FAILURE_NS: u64 = 250_000_000;

/// A command, or a script that the server may not know yet.
#[derive(Debug)]
pub(super) struct Request {
    command: Cmd,
    script: Option<Script>,
}

impl Request {
    /// A plain command.
    pub(super) fn command(name: &str) -> Self {
        Self { command: ::redis::cmd(name), script: None }
    }

    /// A script and its keys; arguments follow by [`Self::arg`].
    pub(super) fn script(text: &str, keys: &[String]) -> Self {
        let script = Script::new(text);
        let mut command = ::redis::cmd("EVALSHA");
        command.arg(script.get_hash()).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        Self { command, script: Some(script) }
    }

    /// Adds an argument.
    pub(super) fn arg(mut self, argument: impl ::redis::ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }
}

/// An answer, and whether an earlier attempt may have been carried out before it.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) value: T,
    pub(super) repeated: bool,
}

enum Source {
    Server(Box<Client>),
    Sentinels(Box<SentinelClient>),
}

struct State {
    source: Source,
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that one failure gives up one connection.
    generation: u64,
    failure: Option<(u64, RedisError)>,
}

/// The link to the server.
pub(super) struct Link {
    state: Mutex<State>,
    clock: SharedClock,
    address: String,
}

impl Link {
    /// Prepares the link; nothing is connected yet.
    pub(super) fn new(options: &RedisOptions, clock: SharedClock) -> Result<Self> {
        let invalid = |error: RedisError| {
            Error::invalid("address or options of Redis are wrong").caused_by(error.to_string())
        };
        let info = options.url.as_str().into_connection_info().map_err(invalid)?;
        let (source, address) = if options.settings.sentinels.is_empty() {
            let info = with_credentials(info, options);
            let address = format!("{}/{}", info.addr(), info.redis_settings().db());
            (Source::Server(Box::new(Client::open(info).map_err(invalid)?)), address)
        } else {
            let address = format!("Sentinels {}", options.settings.sentinels.join(", "));
            (Source::Sentinels(Box::new(sentinels(&info, options)?)), address)
        };
        let state = State { source, connection: None, generation: 0, failure: None };
        Ok(Self { state: Mutex::new(state), clock, address })
    }

    /// The server's address without secrets.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Carries out a request; repeats it while the server is away, for a bounded time.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        action: &'static str,
        request: &Request,
    ) -> Result<Answer<T>> {
        let start = self.clock.monotonic_ns();
        let mut pause = PAUSES.0;
        let mut repeated = false;
        loop {
            let error = match self.once(request).await {
                Ok(value) => {
                    let value = T::from_redis_value(value).map_err(|error| {
                        self.context(Error::corrupt(action).caused_by(error.to_string()))
                    })?;
                    return Ok(Answer { value, repeated });
                }
                Err(error) => error,
            };
            let waited = self.clock.monotonic_ns().saturating_sub(start);
            if !is_transient(&error) || Duration::from_nanos(waited) + pause >= RETRY_WINDOW {
                return Err(self.context(error_of(error, action)));
            }
            repeated |= !error.is_connection_refusal();
            self.clock.sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSES.1);
        }
    }

    fn context(&self, error: Error) -> Error {
        error.with("catalog", &self.address)
    }

    async fn once(&self, request: &Request) -> RedisResult<Value> {
        let (mut connection, generation) = self.connection().await?;
        telemetry::CATALOG_ROUND_TRIPS.add(1);
        let mut result = request.command.query_async::<Value>(&mut connection).await;
        if let (Err(error), Some(script)) = (&result, &request.script)
            && error.kind() == RedisKind::Server(ServerErrorKind::NoScript)
        {
            script.prepare_invoke().load_async(&mut connection).await?;
            result = request.command.query_async::<Value>(&mut connection).await;
        }
        if result.as_ref().is_err_and(is_transient) {
            let mut state = self.state.lock().await;
            if state.generation == generation {
                state.connection = None;
            }
        }
        result
    }

    async fn connection(&self) -> RedisResult<(MultiplexedConnection, u64)> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.generation));
        }
        let now = self.clock.monotonic_ns();
        if let Some((at, error)) = &state.failure
            && now.saturating_sub(*at) < FAILURE_NS
        {
            return Err(error.clone());
        }
        let made = tokio::time::timeout(CONNECT_TIMEOUT, state.source.connect()).await;
        match made
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
        {
            Ok(connection) => {
                state.generation = state.generation.wrapping_add(1);
                state.failure = None;
                state.connection = Some(connection.clone());
                Ok((connection, state.generation))
            }
            Err(error) => {
                state.failure = Some((self.clock.monotonic_ns(), error.clone()));
                Err(error)
            }
        }
    }
}

impl Source {
    async fn connect(&mut self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        match self {
            Self::Server(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await
            }
            Self::Sentinels(client) => client.get_async_connection_with_config(&config).await,
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Credentials of the settings win over those in the address.
fn with_credentials(info: ConnectionInfo, options: &RedisOptions) -> ConnectionInfo {
    let mut redis = info.redis_settings().clone();
    if let Some(username) = &options.settings.username {
        redis = redis.set_username(username);
    }
    if let Some(password) = &options.settings.password {
        redis = redis.set_password(password.reveal());
    }
    info.set_redis_settings(redis)
}

/// The address gives database number, credentials and, by `rediss://`, encryption of the
/// connection to the master; its host is not used. Sentinels are asked without encryption, as the
/// Python client does.
fn sentinels(info: &ConnectionInfo, options: &RedisOptions) -> Result<SentinelClient> {
    let settings = &options.settings;
    let addresses =
        settings.sentinels.iter().map(|text| sentinel_address(text)).collect::<Result<Vec<_>>>()?;
    let invalid = |error: RedisError| {
        Error::invalid("options of Sentinel are wrong").caused_by(error.to_string())
    };
    let master = settings.sentinel_master.as_deref().unwrap_or("mymaster");
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)
        .map_err(invalid)?;
    builder = builder.set_client_to_redis_db(info.redis_settings().db());
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(name) = settings.username.as_deref().or(info.redis_settings().username()) {
        builder = builder.set_client_to_redis_username(name);
    }
    let password = settings.password.as_ref().map(crate::config::Secret::reveal);
    if let Some(password) = password.or(info.redis_settings().password()) {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(password) = &settings.sentinel_password {
        builder = builder.set_client_to_sentinel_password(password.reveal());
    }
    builder.build().map_err(invalid)
}

fn sentinel_address(text: &str) -> Result<ConnectionAddr> {
    let (host, port) = match text.trim().rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok()),
        None => (text.trim(), Some(26379)),
    };
    match port {
        Some(port) if !host.is_empty() => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Ok(ConnectionAddr::Tcp(host.to_owned(), port))
        }
        _ => Err(Error::invalid("address of a Sentinel must be HOST:PORT").with("got", text)),
    }
}

/// Whether the server is away, so that a new connection may help.
fn is_transient(error: &RedisError) -> bool {
    use ServerErrorKind as Server;
    match error.kind() {
        RedisKind::Io
        | RedisKind::MasterNameNotFoundBySentinel
        | RedisKind::Server(
            Server::BusyLoading | Server::MasterDown | Server::TryAgain | Server::ReadOnly,
        ) => true,
        _ => error.is_connection_dropped() || error.is_timeout(),
    }
}

/// Turns Redis' error into ours.
fn error_of(error: RedisError, action: &'static str) -> Error {
    use ServerErrorKind as Server;
    let code = error.code().unwrap_or_default().to_owned();
    let (kind, message) = match error.kind() {
        RedisKind::AuthenticationFailed => (ErrorKind::Denied, "Redis refuses the credentials"),
        RedisKind::Server(Server::NoPerm) => {
            (ErrorKind::Denied, "Redis refuses the command to this user: extend its ACL")
        }
        RedisKind::Server(
            Server::Moved | Server::Ask | Server::CrossSlot | Server::ClusterDown,
        ) => (ErrorKind::Unsupported, "Redis Cluster is not supported: use Sentinel"),
        RedisKind::Server(Server::ReadOnly) => {
            (ErrorKind::Unavailable, "Redis server is a replica that takes no writes")
        }
        RedisKind::InvalidClientConfig | RedisKind::EmptySentinelList => {
            (ErrorKind::Invalid, "address or options of Redis are wrong")
        }
        RedisKind::Parse => (ErrorKind::Invalid, "address does not answer as a Redis server does"),
        RedisKind::UnexpectedReturnType => (ErrorKind::Corrupt, action),
        RedisKind::Extension | RedisKind::Server(Server::ResponseError) => match code.as_str() {
            "NOAUTH" | "WRONGPASS" => (ErrorKind::Denied, "Redis refuses the credentials"),
            "OOM" => (ErrorKind::Full, "memory of Redis is full"),
            "MISCONF" => (ErrorKind::Unavailable, "Redis takes no writes: it cannot save its data"),
            "WRONGTYPE" => (
                ErrorKind::Corrupt,
                "a key holds another type of value: does Redis serve others too?",
            ),
            _ => (ErrorKind::Unavailable, action),
        },
        _ => (ErrorKind::Unavailable, action),
    };
    Error::new(kind, message).with("call", action).caused_by(Arc::new(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinel_addresses_are_parsed() {
        let parse = |text| sentinel_address(text).map(|addr| addr.to_string()).ok();
        assert_eq!(parse("h:1"), Some("h:1".to_owned()));
        assert_eq!(parse("h"), Some("h:26379".to_owned()));
        assert_eq!(parse(":1"), None);
        assert_eq!(parse("h:x"), None);
    }
}
