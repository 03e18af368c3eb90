//! A marked secret in every setting that may hold one never comes out again.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::counts::count;
use crate::rpc::{Gateway, Place, files_below};

const MARK: &str = "CANARY";

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Redis with a password.
fn redis(place: &Place, password: &str) -> (Redis, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--requirepass", password, "--dir"])
        .arg(place.directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server must be installed (apt-get install redis-server)");
    let redis = Redis(child);
    for _ in 0..1_500 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return (redis, port);
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("redis-server does not start");
}

/// An object store that refuses every request; its port. It ends with the process.
fn refusing_store() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
                let mut request = [0; 1 << 16];
                while stream.read(&mut request).is_ok_and(|length| length > 0) {
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// Names of settings that hold a secret or may hold one.
fn storage() -> String {
    let names = [
        "access_key_id",
        "secret_access_key",
        "session_token",
        "azure_storage_account_key",
        "azure_storage_sas_token",
        "client_secret",
        "google_service_account_key",
    ];
    names.iter().map(|name| format!("{name} = \"{MARK}-{name}\"\n")).collect()
}

/// Everything that was said, and by whom.
struct Said<'a> {
    place: &'a Place,
    parts: Vec<(String, Vec<u8>)>,
    commands: usize,
}

impl Said<'_> {
    /// Runs a command that traces all it does; `expected` says whether it must succeed.
    fn run(&mut self, words: &[&str], expected: Option<bool>) {
        let mut command = self.place.command(words);
        command.env("MOUNTABLE_LOG", "trace");
        let done = command.output().unwrap();
        if let Some(expected) = expected {
            assert_eq!(done.status.success(), expected, "{words:?}: {done:?}");
        }
        for part in [done.stdout, done.stderr] {
            self.parts.push((format!("{words:?}"), part));
        }
        self.commands += 1;
    }

    /// Adds the files below the place but the configuration; how many.
    fn add_files(&mut self) -> usize {
        let mut files = Vec::new();
        files_below(self.place.directory.path(), &mut files);
        files.retain(|path| path.is_file() && !path.ends_with("config.toml"));
        for path in &files {
            self.parts.push((path.display().to_string(), std::fs::read(path).unwrap()));
        }
        files.len()
    }

    fn lines_of_trace(&self) -> usize {
        let lines = self.parts.iter().flat_map(|(_, text)| text.split(|byte| *byte == b'\n'));
        lines.filter(|line| String::from_utf8_lossy(line).contains(" TRACE ")).count()
    }

    fn expect_no_secret(&self) {
        for (place, text) in &self.parts {
            let text = String::from_utf8_lossy(text);
            if let Some(at) = text.find(MARK) {
                let from = text.floor_char_boundary(at.saturating_sub(200));
                let until = text.ceil_char_boundary((at + 60).min(text.len()));
                panic!("{place} shows a secret: ...{}", &text[from..until]);
            }
        }
    }
}

/// A configuration with a marked secret in every setting that may hold one.
fn configuration(place: &Place, password: &str) -> String {
    let path = place.path("config.toml");
    let text = format!(
        "[redis]\npassword = \"{password}\"\nsentinel_password = \"{MARK}-sentinel\"\n\
         [storage]\n{}",
        storage()
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// One for a bucket: a store refuses options of others.
fn configuration_of_s3(place: &Place, password: &str) -> String {
    let path = place.path("s3").join("config.toml");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let text = format!(
        "[redis]\npassword = \"{password}\"\n[storage]\nallow_http = \"true\"\n\
         endpoint = \"http://127.0.0.1:{}\"\naccess_key_id = \"{MARK}-id\"\n\
         secret_access_key = \"{MARK}-key\"\nsession_token = \"{MARK}-token\"\n",
        refusing_store()
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A gateway at work, with all that it logs.
fn serve(place: &Place, here: &[&str]) {
    let log = place.path("gateway.log");
    let mut command = place.command(&[here, &["--json", "serve", "--nfs", "127.0.0.1:0"]].concat());
    command.env("MOUNTABLE_LOG", "trace");
    command.stderr(std::fs::File::create(&log).unwrap());
    let gateway = Gateway::start_logged(command);
    let mut client = gateway.client();
    let root = client.root();
    assert!(client.works(&root));
    assert!(!client.works(&[7; 16]), "a forged handle is believed");
    drop(gateway);
    let logged = std::fs::read_to_string(&log).unwrap();
    for line in [": mount client=", "DEBUG"] {
        assert!(logged.contains(line), "no {line:?} in the gateway's log: {logged}");
    }
}

#[test]
fn no_secret_of_any_setting_comes_out_again() {
    let place = Place::new();
    let password = format!("{MARK}-redis-password");
    let (_redis, port) = redis(&place, &password);
    let lake = place.path("lake").to_str().unwrap().to_owned();
    let config = configuration(&place, &password);
    let csv = place.path("t.csv");
    std::fs::write(&csv, "id,name\n1,a\n").unwrap();
    let csv = csv.to_str().unwrap();
    let good = format!("redis://127.0.0.1:{port}/0");
    let in_url = format!("redis://user:{MARK}-in-url@127.0.0.1:{port}/0");
    let bad = format!("redis://:{MARK}-in-url@127.0.0.1:1/0");
    let here: [&str; 6] = ["--config", &config, "--lake", &lake, "--catalog", &good];
    let mut said = Said { place: &place, parts: Vec::new(), commands: 0 };
    for (words, expected) in [
        (vec!["config", "show", "--origin"], true),
        (vec!["--json", "config", "show"], true),
        (vec!["init"], true),
        (vec!["load", "acme/shop/orders", csv], true),
        (vec!["cat", "acme/shop/orders"], true),
        (vec!["log", "acme/shop/orders"], true),
        (vec!["ls"], true),
        (vec!["load", "acme/shop/orders", "/nowhere"], false),
        (vec!["--set", "redis.password=x", "ls"], false),
        (vec!["--set", "limits.idle=x", "ls"], false),
    ] {
        said.run(&[&here[..], &words].concat(), Some(expected));
    }
    for catalog in [&in_url, &bad] {
        let base = ["--config", &config, "--lake", &lake, "--catalog", catalog.as_str()];
        said.run(&[&base[..], &["config", "show", "--origin"]].concat(), None);
        said.run(&[&base[..], &["--json", "config", "show"]].concat(), None);
        said.run(&[&base[..], &["ls"]].concat(), Some(false));
    }
    // Signed requests go out, and what carries them traces them.
    let of_s3 = configuration_of_s3(&place, &password);
    let s3 = ["--config", &of_s3, "--lake", "s3://bucket/prefix"];
    said.run(&[&s3[..], &["--catalog", &good, "ls"]].concat(), Some(false));
    said.run(&[&s3[..], &["ls"]].concat(), Some(false));
    serve(&place, &here);
    let looked = said.add_files();
    let traced = said.lines_of_trace();
    assert!(traced > 0, "nothing was traced: the log was not looked at");
    said.expect_no_secret();
    count(&format!(
        "secrets: {} commands and a gateway with {traced} lines of trace, {looked} files read, \
         0 shown",
        said.commands
    ));
}
