//! A gateway of our own as a process, and a client that sends it any bytes.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

pub(crate) const NFS: (u32, u32) = (100_003, 3);
pub(crate) const MOUNT: (u32, u32) = (100_005, 3);

/// A place for a lake, its state and its gateway.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
}

/// A running gateway; ends with the value.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The binary with nothing of our own environment's settings.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mountable"));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars() {
            if name.starts_with("MOUNTABLE") || name.starts_with("SUPERTABLE") {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.directory.path());
        command.env("XDG_STATE_HOME", self.path("state")).env("RUST_BACKTRACE", "1");
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// A lake with a small table, and its gateway.
    pub(crate) fn serve(&self, more: &[&str]) -> Gateway {
        let lake = self.path("lake");
        let lake = lake.to_str().unwrap();
        let csv = self.path("t.csv");
        std::fs::write(&csv, "id,name\n1,a\n2,b\n").unwrap();
        for words in [
            vec!["init", lake],
            vec!["--lake", lake, "load", "acme/shop/orders", csv.to_str().unwrap()],
        ] {
            let done = self.run(&words);
            assert!(done.status.success(), "{words:?}: {done:?}");
        }
        let mut words = vec!["--lake", lake, "--json", "serve", "--nfs", "127.0.0.1:0"];
        words.extend_from_slice(more);
        Gateway::start(self.command(&words))
    }
}

impl Gateway {
    fn start(mut command: Command) -> Self {
        command.stderr(Stdio::null());
        Self::start_logged(command)
    }

    /// Starts it with the log wherever the command sends it.
    pub(crate) fn start_logged(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let said = serde_json::Deserializer::from_reader(child.stdout.take().unwrap());
        let ready: serde_json::Value =
            said.into_iter().next().expect("the gateway says that it is ready").unwrap();
        let address = ready["nfs"].as_str().unwrap().parse().unwrap();
        Self { child, address }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A figure of `/proc/PID/status` in KiB.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        self.client_from(1).unwrap()
    }

    /// A client of the loopback address 127.0.0.`host`.
    pub(crate) fn client_from(&self, host: u8) -> std::io::Result<Client> {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0);
        socket.bind(&from.into())?;
        socket.connect(&self.address.into())?;
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, xid: 1 })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    xid: u32,
}

fn word(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// An opaque of XDR: length, bytes, padding.
pub(crate) fn opaque(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    word(&mut out, u32::try_from(bytes.len()).unwrap());
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

impl Client {
    /// The bytes of a call with its record mark.
    pub(crate) fn call_bytes(
        &mut self,
        program: (u32, u32),
        procedure: u32,
        arguments: &[u8],
    ) -> Vec<u8> {
        self.xid += 1;
        let xid = self.xid;
        Self::bytes_of(xid, program, procedure, arguments)
    }

    pub(crate) fn bytes_of(
        xid: u32,
        (program, version): (u32, u32),
        procedure: u32,
        arguments: &[u8],
    ) -> Vec<u8> {
        let mut body = Vec::new();
        for value in [xid, 0, 2, program, version, procedure, 1] {
            word(&mut body, value);
        }
        let mut credential = Vec::new();
        word(&mut credential, 7);
        credential.extend(opaque(b"host"));
        for value in [0, 0, 0] {
            word(&mut credential, value);
        }
        body.extend(opaque(&credential));
        for value in [0, 0] {
            word(&mut body, value);
        }
        body.extend_from_slice(arguments);
        let mut record = Vec::new();
        word(&mut record, 0x8000_0000 | u32::try_from(body.len()).unwrap());
        record.extend(body);
        record
    }

    /// The next record that comes back.
    pub(crate) fn reply(&mut self) -> std::io::Result<Vec<u8>> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes(head) & 0x7fff_ffff;
        let mut body = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    /// Calls and waits; what comes behind the accepted header.
    pub(crate) fn call(
        &mut self,
        program: (u32, u32),
        procedure: u32,
        arguments: &[u8],
    ) -> std::io::Result<Vec<u8>> {
        let bytes = self.call_bytes(program, procedure, arguments);
        self.stream.write_all(&bytes)?;
        let reply = self.reply()?;
        Ok(result(&reply).to_vec())
    }

    /// The root's handle.
    pub(crate) fn root(&mut self) -> Vec<u8> {
        let answer = self.call(MOUNT, 1, &opaque(b"/")).unwrap();
        assert_eq!(status(&answer), 0, "mount: {answer:?}");
        let length = u32::from_be_bytes(answer[4..8].try_into().unwrap());
        answer[8..8 + usize::try_from(length).unwrap()].to_vec()
    }

    /// Asks for the root's attributes.
    pub(crate) fn works(&mut self, root: &[u8]) -> bool {
        self.call(NFS, 1, &opaque(root)).is_ok_and(|answer| status(&answer) == 0)
    }
}

/// What stands behind the header of an accepted call; empty if it was not.
pub(crate) fn result(reply: &[u8]) -> &[u8] {
    // xid, REPLY, MSG_ACCEPTED, verifier (flavor, length 0), SUCCESS
    if reply.len() >= 24 && reply[8..12] == [0; 4] && reply[20..24] == [0; 4] {
        &reply[24..]
    } else {
        &[]
    }
}

/// The status of a result; `u32::MAX` if there is none.
pub(crate) fn status(result: &[u8]) -> u32 {
    result.first_chunk::<4>().map_or(u32::MAX, |word| u32::from_be_bytes(*word))
}

/// Every file below a directory.
pub(crate) fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            files_below(&path, found);
        }
        found.push(path);
    }
}
