//! Fuzzed through a socket of the loopback: record marks, RPC headers, and the arguments of every
//! procedure, before a file system in memory and before a lake.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use mountable::catalog::{EmbeddedCatalog, SharedCatalog};
use mountable::clock::{SharedClock, SystemClock};
use mountable::config::Settings;
use mountable::ident::{OrgName, SuperId, TableId};
use mountable::lake::{Lake, Principal, TableConfig};
use mountable::nfs::{MemoryFs, Server};
use mountable::store;
use mountable::vfs::{FileSystem, Vfs};

use super::targets::Target;

/// Every target that needs a server.
pub(crate) const TARGETS: &[Target] = &[("rpc", rpc), ("nfs", nfs), ("nfs_lake", nfs_lake)];

const NFS: (u32, u32) = (100_003, 3);
const MOUNT: (u32, u32) = (100_005, 3);
/// Procedures of NFS version 3.
const PROCEDURES: u32 = 22;
/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that lives as long as the process.
struct Fixture {
    address: SocketAddr,
    server: Server,
    roots: Vec<Vec<u8>>,
    connection: Mutex<Option<TcpStream>>,
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().unwrap())
}

fn settings() -> Settings {
    let state = Box::leak(Box::new(tempfile::tempdir().unwrap()));
    let mut settings = Settings { nfs: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
    state.path().clone_into(&mut settings.state);
    settings.timing.commit_hold = Duration::from_millis(1);
    settings
}

async fn start(files: Arc<dyn FileSystem>, settings: &Settings, paths: &[&str]) -> Fixture {
    let server = Server::start(files, settings, Arc::new(SystemClock)).await.unwrap();
    let address = server.address();
    let mount = |path: &&str| {
        let mut stream = connect(address);
        let reply = exchange(&mut stream, &call(MOUNT, 1, &opaque(path.as_bytes()))).unwrap();
        assert_eq!(reply[24..28], [0; 4], "mount {path}");
        reply[28..28 + 4 + 36].to_vec()
    };
    let roots = tokio::task::block_in_place(|| paths.iter().map(mount).collect());
    Fixture { address, server, roots, connection: Mutex::new(None) }
}

fn memory() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let files = MemoryFs::new(Arc::new(SystemClock), 16 << 20);
        files.insert(b"a.csv", &"id\n1\n".into()).unwrap();
        on_runtime(async move { start(Arc::new(files), &settings(), &["/"]).await })
    })
}

fn on_runtime<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    runtime().block_on(runtime().spawn(work)).unwrap()
}

fn lake() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        on_runtime(async {
            let settings = settings();
            let clock: SharedClock = Arc::new(SystemClock);
            let objects = store::open("memory:", &store::StoreOptions::default()).unwrap();
            let catalog: SharedCatalog =
                Arc::new(EmbeddedCatalog::memory(Arc::clone(&clock)).unwrap());
            let lake = Lake::from_parts(&settings, objects, catalog, clock.clone()).unwrap();
            let who = Principal {
                uid: 0,
                client: "fuzz".to_owned(),
                role: "superadmin".to_owned(),
                read_only: false,
            };
            lake.create_organization(&who, &OrgName::new("acme").unwrap()).await.unwrap();
            lake.create_super(&who, &SuperId::parse("acme/shop").unwrap()).await.unwrap();
            let fields = vec![Field::new("id", DataType::Int64, true)];
            let table = TableId::parse("acme/shop/t").unwrap();
            let schema = Arc::new(Schema::new(fields));
            lake.create_table(&who, &table, schema, TableConfig::default()).await.unwrap();
            let vfs = Vfs::open(lake, &settings, clock).await.unwrap();
            start(vfs, &settings, &["/", "/acme/shop", "/acme/shop/t.csv"]).await
        })
    })
}

fn word(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

fn opaque(bytes: &[u8]) -> Vec<u8> {
    let mut out = word(u32::try_from(bytes.len()).unwrap()).to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// A call of user 1000 with AUTH_SYS.
fn call((program, version): (u32, u32), procedure: u32, arguments: &[u8]) -> Vec<u8> {
    let credential = [&word(1)[..], &opaque(b"fuzz"), &word(1000), &word(1000), &word(0)].concat();
    let mut out = Vec::new();
    for value in [next_xid(), 0, 2, program, version, procedure, 1] {
        out.extend_from_slice(&word(value));
    }
    out.extend_from_slice(&opaque(&credential));
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(arguments);
    out
}

fn next_xid() -> u32 {
    static XID: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    XID.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a record, reads one; nothing if the server closed the connection.
fn exchange(stream: &mut TcpStream, message: &[u8]) -> Option<Vec<u8>> {
    let mark = u32::try_from(message.len()).unwrap() | 0x8000_0000;
    stream.write_all(&[&word(mark)[..], message].concat()).ok()?;
    let mut mark = [0; 4];
    if let Err(error) = stream.read_exact(&mut mark) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "no answer");
        return None;
    }
    let mut reply = vec![0; usize::try_from(u32::from_be_bytes(mark) & 0x7fff_ffff).unwrap()];
    stream.read_exact(&mut reply).ok()?;
    Some(reply)
}

/// Any bytes as a stream: the server answers or hangs up, and never breaks.
pub(crate) fn rpc(data: &[u8]) {
    let fixture = memory();
    let mut stream = connect(fixture.address);
    let mut sent = data.to_vec();
    if let Some((0, message)) = data.split_first() {
        // A good record mark, so that something is read behind it.
        sent = word(u32::try_from(message.len()).unwrap() | 0x8000_0000).to_vec();
        sent.extend_from_slice(message);
    }
    let _ = stream.write_all(&sent);
    let _ = stream.shutdown(Shutdown::Write);
    let mut replies = Vec::new();
    let end = stream.read_to_end(&mut replies).map_err(|error| error.kind());
    assert_ne!(end, Err(std::io::ErrorKind::WouldBlock), "the server neither answers nor closes");
    assert_eq!(fixture.server.counters().panics, 0);
}

/// Any arguments for any procedure; the first byte chooses it, the second a handle before them.
fn procedure(fixture: &Fixture, data: &[u8]) {
    let Some(([which, handle], arguments)) = data.split_first_chunk::<2>() else { return };
    let root = fixture.roots.get(usize::from(*handle) % (fixture.roots.len() + 1));
    let arguments = [root.map_or(&[][..], Vec::as_slice), arguments].concat();
    let message = call(NFS, u32::from(*which) % PROCEDURES, &arguments);
    let mut place = fixture.connection.lock().unwrap_or_else(PoisonError::into_inner);
    let stream = place.get_or_insert_with(|| connect(fixture.address));
    let reply = exchange(stream, &message).expect("a call has a reply");
    assert_eq!(reply[..8], [&message[..4], &word(1)].concat(), "xid and direction");
    assert_eq!(fixture.server.counters().panics, 0);
}

/// Procedures before a file system in memory.
pub(crate) fn nfs(data: &[u8]) {
    procedure(memory(), data);
}

/// Procedures before a lake with one table.
pub(crate) fn nfs_lake(data: &[u8]) {
    procedure(lake(), data);
}
