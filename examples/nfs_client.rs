//! A raw NFSv3 client for measuring: how many READs are under way, and how large they are, is
//! given, as no other client lets one choose it. Standard library only.
//!
//! ```text
//! nfs_client HOST:PORT cat PATH SIZE DEPTH [READERS]   whole file; each reader a part of it
//! nfs_client HOST:PORT at PATH SIZE OFFSET...          one READ at each offset, with its time
//! nfs_client HOST:PORT stat PATH                       LOOKUPs and GETATTR
//! nfs_client HOST:PORT list PATH [PASSES]              GETATTR and READDIRPLUS to the end, again
//!                                                      when a client's attributes are out of date
//! ```
//! Prints one line of JSON. SIZE and DEPTH of the Linux client: 131072 and 1 as it comes, 1048576
//! and 1 or more with a larger `read_ahead_kb`.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]
#![allow(clippy::cast_possible_truncation, clippy::panic)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;

struct Client {
    stream: TcpStream,
    xid: u32,
    reply: Vec<u8>,
}

/// Words and opaques of a call's arguments.
#[derive(Default)]
struct Args(Vec<u8>);

impl Args {
    fn word(mut self, word: u32) -> Self {
        self.0.extend(word.to_be_bytes());
        self
    }

    fn long(mut self, long: u64) -> Self {
        self.0.extend(long.to_be_bytes());
        self
    }

    fn opaque(mut self, bytes: &[u8]) -> Self {
        self.0.extend((bytes.len() as u32).to_be_bytes());
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// A reply's results, read from the front.
struct Results<'a>(&'a [u8]);

impl<'a> Results<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }

    fn word(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes(4).try_into().unwrap())
    }

    fn long(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes(8).try_into().unwrap())
    }

    fn opaque(&mut self) -> &'a [u8] {
        let length = self.word() as usize;
        let bytes = self.bytes(length.next_multiple_of(4));
        &bytes[..length]
    }

    fn status(&mut self) {
        let status = self.word();
        assert_eq!(status, 0, "NFS status");
    }

    /// The size in a `fattr3`.
    fn attributes(&mut self) -> u64 {
        let mut attributes = Self(self.bytes(84));
        attributes.bytes(20);
        attributes.long()
    }

    fn optional_attributes(&mut self) {
        if self.word() == 1 {
            self.attributes();
        }
    }
}

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, xid: std::process::id() << 12, reply: Vec::new() }
    }

    fn send(&mut self, program: u32, procedure: u32, args: &Args) {
        self.xid = self.xid.wrapping_add(1);
        let credential = Args::default().word(0).opaque(b"bench").word(0).word(0).word(0); // root
        let call = Args::default()
            .word(self.xid)
            .word(0)
            .word(2)
            .word(program)
            .word(3)
            .word(procedure)
            .word(1)
            .opaque(&credential.0)
            .long(0);
        let length = call.0.len() + args.0.len();
        let mut record = (length as u32 | 0x8000_0000).to_be_bytes().to_vec();
        record.extend(call.0);
        record.extend(&args.0);
        self.stream.write_all(&record).unwrap();
    }

    /// The results of the next reply to come.
    fn receive(&mut self) -> Results<'_> {
        let mut mark = [0; 4];
        self.stream.read_exact(&mut mark).unwrap();
        let length = (u32::from_be_bytes(mark) & 0x7fff_ffff) as usize;
        if self.reply.len() < length {
            self.reply.resize(length, 0);
        }
        self.stream.read_exact(&mut self.reply[..length]).unwrap();
        let mut results = Results(&self.reply[4..length]);
        let head: Vec<u32> = (0..5).map(|_| results.word()).collect();
        assert_eq!(head, [1, 0, 0, 0, 0], "accepted and executed");
        results
    }

    fn call(&mut self, program: u32, procedure: u32, args: &Args) -> Results<'_> {
        self.send(program, procedure, args);
        self.receive()
    }

    fn mount(&mut self, path: &str) -> Vec<u8> {
        let mut results = self.call(MOUNT, 1, &Args::default().opaque(path.as_bytes()));
        results.status();
        results.opaque().to_vec()
    }

    /// Walks from the root to a path.
    fn find(&mut self, path: &str) -> Vec<u8> {
        let mut handle = self.mount("/");
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let args = Args::default().opaque(&handle).opaque(name.as_bytes());
            let mut results = self.call(NFS, 3, &args);
            results.status();
            handle = results.opaque().to_vec();
        }
        handle
    }

    fn size(&mut self, handle: &[u8]) -> u64 {
        let mut results = self.call(NFS, 1, &Args::default().opaque(handle));
        results.status();
        results.attributes()
    }

    fn ask_read(&mut self, handle: &[u8], offset: u64, count: u32) {
        self.send(NFS, 6, &Args::default().opaque(handle).long(offset).word(count));
    }

    /// Bytes in the reply to a READ.
    fn take_read(&mut self) -> u64 {
        let mut results = self.receive();
        results.status();
        results.optional_attributes();
        let count = results.word();
        results.word();
        assert_eq!(results.opaque().len(), count as usize);
        u64::from(count)
    }

    /// Reads a part of a file with `depth` READs under way; its bytes.
    fn read_part(&mut self, handle: &[u8], (start, end): (u64, u64), size: u32, depth: u32) -> u64 {
        let (mut asked, mut waiting, mut got) = (start, 0, 0);
        while asked < end || waiting > 0 {
            while asked < end && waiting < depth {
                let count = u64::from(size).min(end - asked) as u32;
                self.ask_read(handle, asked, count);
                asked += u64::from(count);
                waiting += 1;
            }
            got += self.take_read();
            waiting -= 1;
        }
        got
    }

    /// Names of a directory, all with attributes.
    fn list(&mut self, handle: &[u8]) -> (u64, u64) {
        let (mut cookie, mut verifier, mut names, mut calls) = (0, [0; 8], 0, 0);
        loop {
            let mut args = Args::default().opaque(handle).long(cookie);
            args.0.extend(verifier);
            let args = args.word(32 << 10).word(1 << 20);
            let mut results = self.call(NFS, 17, &args);
            calls += 1;
            results.status();
            results.optional_attributes();
            verifier = results.bytes(8).try_into().unwrap();
            while results.word() == 1 {
                results.long();
                results.opaque();
                cookie = results.long();
                results.optional_attributes();
                if results.word() == 1 {
                    results.opaque();
                }
                names += 1;
            }
            if results.word() == 1 {
                return (names, calls);
            }
        }
    }
}

fn cat(address: &str, path: &str, size: u32, depth: u32, readers: u64) {
    let mut client = Client::connect(address);
    let handle = client.find(path);
    let start = Instant::now();
    let length = client.size(&handle);
    let part = length.div_ceil(readers);
    let threads: Vec<_> = (0..readers)
        .map(|reader| {
            let (address, handle) = (address.to_owned(), handle.clone());
            let range = (reader * part, length.min((reader + 1) * part));
            std::thread::spawn(move || {
                Client::connect(&address).read_part(&handle, range, size, depth)
            })
        })
        .collect();
    let bytes: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(bytes, length, "every byte came");
    println!("{{\"bytes\": {bytes}, \"seconds\": {:.6}}}", start.elapsed().as_secs_f64());
}

fn list(address: &str, path: &str, passes: u32) {
    let mut client = Client::connect(address);
    let handle = client.find(path);
    let (mut seconds, mut found) = (Vec::new(), (0, 0));
    for pass in 0..passes {
        if pass > 0 {
            std::thread::sleep(Duration::from_millis(1_200));
        }
        let start = Instant::now();
        client.size(&handle);
        found = client.list(&handle);
        seconds.push(format!("{:.6}", start.elapsed().as_secs_f64()));
    }
    let (names, calls) = found;
    let seconds = seconds.join(", ");
    println!("{{\"names\": {names}, \"calls\": {calls}, \"seconds\": [{seconds}]}}");
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, address, "cat", path, size, depth, readers @ ..] => {
            let readers = readers.first().map_or(1, |readers| readers.parse().unwrap());
            cat(address, path, size.parse().unwrap(), depth.parse().unwrap(), readers);
        }
        [_, address, "at", path, size, offsets @ ..] => {
            let mut client = Client::connect(address);
            let handle = client.find(path);
            let mut seconds = Vec::new();
            for offset in offsets {
                let start = Instant::now();
                client.ask_read(&handle, offset.parse().unwrap(), size.parse().unwrap());
                client.take_read();
                seconds.push(format!("{:.6}", start.elapsed().as_secs_f64()));
            }
            println!("{{\"seconds\": [{}]}}", seconds.join(", "));
        }
        [_, address, "stat", path] => {
            let mut client = Client::connect(address);
            let start = Instant::now();
            let handle = client.find(path);
            let bytes = client.size(&handle);
            println!("{{\"bytes\": {bytes}, \"seconds\": {:.6}}}", start.elapsed().as_secs_f64());
        }
        [_, address, "list", path, passes @ ..] => {
            let passes = passes.first().map_or(1, |passes| passes.parse().unwrap());
            list(address, path, passes);
        }
        _ => panic!("see the head of examples/nfs_client.rs"),
    }
}
