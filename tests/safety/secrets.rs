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
    for _ in 0..200 {
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

#[test]
fn no_secret_of_any_setting_comes_out_again() {
    let place = Place::new();
    let password = format!("{MARK}-redis-password");
    let (_redis, port) = redis(&place, &password);
    let lake = place.path("lake");
    let lake = lake.to_str().unwrap().to_owned();
    let config = place.path("config.toml");
    std::fs::write(
        &config,
        format!(
            "[redis]\npassword = \"{password}\"\nsentinel_password = \"{MARK}-sentinel\"\n\
             [storage]\n{}",
            storage()
        ),
    )
    .unwrap();
    let config = config.to_str().unwrap().to_owned();
    let csv = place.path("t.csv");
    std::fs::write(&csv, "id,name\n1,a\n").unwrap();
    let csv = csv.to_str().unwrap();
    let good = format!("redis://127.0.0.1:{port}/0");
    let in_url = format!("redis://user:{MARK}-in-url@127.0.0.1:{port}/0");
    let bad = format!("redis://:{MARK}-in-url@127.0.0.1:1/0");
    let here: [&str; 6] = ["--config", &config, "--lake", &lake, "--catalog", &good];
    // A store refuses options of others, so that one has a configuration of its own.
    let of_s3 = place.path("s3").join("config.toml");
    std::fs::create_dir(of_s3.parent().unwrap()).unwrap();
    std::fs::write(
        &of_s3,
        format!(
            "[redis]\npassword = \"{password}\"\n[storage]\nallow_http = \"true\"\n\
             endpoint = \"http://127.0.0.1:{}\"\naccess_key_id = \"{MARK}-id\"\n\
             secret_access_key = \"{MARK}-key\"\nsession_token = \"{MARK}-token\"\n",
            refusing_store()
        ),
    )
    .unwrap();
    let s3 = ["--config", of_s3.to_str().unwrap(), "--lake", "s3://bucket/prefix"];
    let mut said = Vec::new();
    let mut ran = 0;
    let mut run = |words: Vec<&str>, expected: Option<bool>| {
        let mut command = place.command(&words);
        command.env("MOUNTABLE_LOG", "trace");
        let done = command.output().unwrap();
        if let Some(expected) = expected {
            assert_eq!(done.status.success(), expected, "{words:?}: {done:?}");
        }
        for part in [done.stdout, done.stderr] {
            said.push((format!("{words:?}"), part));
        }
        ran += 1;
    };
    for (words, expected) in [
        (vec!["config", "show", "--origin"], Some(true)),
        (vec!["--json", "config", "show"], Some(true)),
        (vec!["init"], Some(true)),
        (vec!["load", "acme/shop/orders", csv], Some(true)),
        (vec!["cat", "acme/shop/orders"], Some(true)),
        (vec!["log", "acme/shop/orders"], Some(true)),
        (vec!["ls"], Some(true)),
        (vec!["load", "acme/shop/orders", "/nowhere"], Some(false)),
        (vec!["--set", "redis.password=x", "ls"], Some(false)),
        (vec!["--set", "limits.idle=x", "ls"], Some(false)),
    ] {
        run([&here[..], &words].concat(), expected);
    }
    for catalog in [&in_url, &bad] {
        let base = ["--config", &config, "--lake", &lake, "--catalog", catalog.as_str()];
        run([&base[..], &["config", "show", "--origin"]].concat(), None);
        run([&base[..], &["--json", "config", "show"]].concat(), None);
        run([&base[..], &["ls"]].concat(), Some(false));
    }
    // Signed requests go out, and what carries them traces them.
    run([&s3[..], &["--catalog", &good, "ls"]].concat(), Some(false));
    run([&s3[..], &["ls"]].concat(), Some(false));
    // A gateway at work, with all that it logs.
    let log = place.path("gateway.log");
    let mut command =
        place.command(&[&here[..], &["--json", "serve", "--nfs", "127.0.0.1:0"]].concat());
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
    let mut files = Vec::new();
    files_below(place.directory.path(), &mut files);
    let mut looked = 0;
    for path in files.iter().filter(|path| path.is_file() && !path.ends_with("config.toml")) {
        said.push((path.display().to_string(), std::fs::read(path).unwrap()));
        looked += 1;
    }
    let lines = said.iter().flat_map(|(_, text)| text.split(|byte| *byte == b'\n'));
    let traced = lines.filter(|line| String::from_utf8_lossy(line).contains(" TRACE ")).count();
    assert!(traced > 0, "nothing was traced: the log was not looked at");
    for (place, text) in &said {
        let text = String::from_utf8_lossy(text);
        if let Some(at) = text.find(MARK) {
            let from = text.floor_char_boundary(at.saturating_sub(200));
            let until = text.ceil_char_boundary((at + 60).min(text.len()));
            panic!("{place} shows a secret: ...{}", &text[from..until]);
        }
    }
    count(&format!(
        "secrets: {ran} commands and a gateway with {traced} lines of trace, {looked} files read, \
         0 shown"
    ));
}
