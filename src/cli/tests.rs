//! Arguments, exit codes and the verbs against a lake in memory.

use std::io::Write;
use std::sync::Mutex;

use super::*;
use crate::cli::console::Terminals;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const NOBODY: Terminals = Terminals { input: false, error: false };

/// One invocation: exit code, output, complaints.
pub(super) fn mountable(lake: &str, arguments: &[&str]) -> (u8, String, String) {
    let (out, err) = (Shared::default(), Shared::default());
    let mut console = Console::new(Box::new(out.clone()), Box::new(err.clone()), NOBODY);
    let dir = std::env::temp_dir().display().to_string();
    let environment = Environment::of([
        ("MOUNTABLE_LAKE", lake),
        ("MOUNTABLE_CONFIG", "/dev/null"),
        ("MOUNTABLE_STATE", &dir),
    ]);
    let arguments = ["mountable"].iter().chain(arguments).map(OsString::from);
    let code = run(arguments, &environment, &mut console).code();
    let text = |shared: Shared| String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
    (code, text(out), text(err))
}

#[test]
fn argument_tree_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_and_version_succeed_and_wrong_usage_is_two() {
    assert_eq!(mountable("memory:a", &["--help"]).0, 0);
    assert_eq!(mountable("memory:a", &["--version"]).0, 0);
    for wrong in [
        &["frobnicate"][..],
        &["cat"],
        &["load", "a/b/c"],
        &["ls", "a/b/c/d"],
        &["ls", "UPPER"],
        &["cat", "a/b/c@yesterday"],
        &["ls", "--set", "nonsense"],
        &["ls", "--set", "nonsense=1"],
        &["ls", "--set", "redis.password=x"],
        &["serve", "--super", "x"],
    ] {
        let (code, out, err) = mountable("memory:a", wrong);
        assert_eq!(code, 2, "{wrong:?}: {err}");
        assert!(out.is_empty() && !err.is_empty(), "{wrong:?}");
    }
    let (code, _, err) = mountable("", &["ls"]);
    assert_eq!(code, 2);
    assert!(err.contains("--lake"), "{err}");
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = mountable("", &["completions", shell]);
        assert_eq!(code, 0);
        assert!(out.contains("mountable"));
    }
}

#[test]
fn config_show_tells_the_origin_and_hides_secrets() {
    let (code, out, _) = mountable("redis://u:canary@h/", &["config", "show", "--origin"]);
    assert_eq!(code, 0);
    assert!(out.contains("# environment MOUNTABLE_LAKE"), "{out}");
    assert!(!out.contains("canary"));
    let (_, json, _) = mountable("memory:a", &["config", "show", "--json"]);
    assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap().is_array());
}

#[test]
fn reader_that_goes_away_is_no_failure() {
    let mut console = Console::new(Box::new(Broken), Box::new(Shared::default()), NOBODY);
    let arguments = ["mountable", "completions", "bash"].map(OsString::from);
    assert_eq!(run(arguments, &Environment::default(), &mut console), Exit::Ok);
}

/// A lake of its own in a directory, with files beside it.
pub(super) struct Lab {
    dir: tempfile::TempDir,
    pub(super) lake: String,
}

impl Lab {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lake = dir.path().join("lake").display().to_string();
        let lab = Self { dir, lake };
        assert_eq!(lab.run(&["init"]).0, 0);
        lab
    }

    pub(super) fn run(&self, arguments: &[&str]) -> (u8, String, String) {
        mountable(&self.lake, arguments)
    }

    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    #[track_caller]
    pub(super) fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {err}");
        out
    }
}

#[test]
fn files_are_loaded_listed_printed_replaced_and_dropped() {
    let lab = Lab::new();
    let first = lab.file("a.csv", "id,name\n1,x\n2,y\n");
    let second = lab.file("b.json", "{\"name\":\"z\",\"id\":3}\n");
    lab.ok(&["load", "acme/shop/orders", &first, &second, "--keys", "id"]);
    assert_eq!(lab.ok(&["cat", "acme/shop/orders"]), "id,name\n1,x\n2,y\n3,z\n");
    assert_eq!(lab.ok(&["cat", "acme/shop/orders@0"]), "id,name\n");
    assert_eq!(lab.ok(&["ls"]), "acme\n");
    assert_eq!(lab.ok(&["ls", "acme"]), "acme/shop\n");
    assert!(lab.ok(&["ls", "acme/shop"]).contains("acme/shop/orders"));
    let schema: serde_json::Value =
        serde_json::from_str(&lab.ok(&["schema", "acme/shop/orders", "--json"])).unwrap();
    assert_eq!(schema[0]["type"], "int64");
    assert_eq!(schema[0]["key"], true);
    let third = lab.file("c.csv", "id,name\n9,only\n");
    lab.ok(&["load", "acme/shop/orders", &third, "--mode", "replace", "-m", "fresh"]);
    assert_eq!(lab.ok(&["cat", "acme/shop/orders"]), "id,name\n9,only\n");
    let log: serde_json::Value =
        serde_json::from_str(&lab.ok(&["log", "acme/shop/orders", "--json"])).unwrap();
    assert_eq!(log[0]["operation"], "replace");
    assert_eq!(log[0]["message"], "fresh");
    lab.ok(&["rename", "acme/shop/orders", "sales"]);
    assert!(lab.ok(&["drop", "acme/shop/sales", "--dry-run"]).contains("would drop"));
    lab.ok(&["drop", "acme/shop/sales"]);
    assert_eq!(lab.run(&["cat", "acme/shop/sales"]).0, 3);
}

#[test]
fn loads_that_do_not_fit_the_table_change_nothing() {
    let lab = Lab::new();
    lab.ok(&["create", "acme/shop/t", "--columns", "id:int64,price:decimal(6,2)", "--keys", "id"]);
    let refused = |name: &str, text: &str, more: &[&str]| {
        let file = lab.file(name, text);
        let mut arguments = vec!["load", "acme/shop/t", &file];
        arguments.extend(more);
        let (code, _, err) = lab.run(&arguments);
        assert_eq!(code, 2, "{err}");
        err
    };
    let err = refused("a.csv", "id,price\n1,2.50\n2,2.505\n", &[]);
    for part in ["a.csv", "line: 3", "price", "2.505"] {
        assert!(err.contains(part), "{err}");
    }
    assert!(refused("b.csv", "id,prize\n1,2\n", &[]).contains("did you mean: price"));
    assert!(refused("c.csv", "price\n1\n", &[]).contains("key column `id`"));
    assert!(refused("d.csv", "id\n1\n", &["--keys", "nix"]).contains("nix"));
    assert_eq!(lab.ok(&["cat", "acme/shop/t"]), "id,price\n");
    let more = lab.file("e.csv", "id,extra\n1,x\n");
    lab.ok(&["load", "acme/shop/t", &more, "--add-columns"]);
    assert_eq!(lab.ok(&["cat", "acme/shop/t"]), "id,price,extra\n1,,x\n");
    lab.ok(&["create", "acme/shop/plain", "--columns", "a:text"]);
    let text = lab.file("f.csv", "a\n007\n");
    assert_eq!(lab.run(&["load", "acme/shop/plain", &text, "--mode", "upsert"]).0, 2);
    lab.ok(&["load", "acme/shop/plain", &text]);
    assert_eq!(lab.ok(&["cat", "acme/shop/plain"]), "a\n007\n");
    assert_eq!(lab.run(&["load", "acme/shop/plain", "/nonexistent.csv"]).0, 3);
    assert_eq!(lab.run(&["create", "acme/shop/plain", "--columns", "a:text"]).0, 4);
    assert_eq!(lab.run(&["create", "acme/shop/other"]).0, 2);
}

#[test]
fn load_that_fails_leaves_no_new_table_behind() {
    let lab = Lab::new();
    let good = lab.file("a.csv", "id\n1\n");
    let bad = lab.file("b.csv", "id,x\n2\n");
    assert_eq!(lab.run(&["load", "acme/shop/t", &good, &bad]).0, 2);
    assert_eq!(lab.run(&["ls", "acme/shop/t"]).0, 3);
    assert_eq!(lab.run(&["load", "acme/shop/t", &good, "--mode", "upsert"]).0, 2);
    assert_eq!(lab.run(&["ls", "acme/shop/t"]).0, 3);
}

#[test]
fn demo_makes_its_lake_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("demo").display().to_string();
    let arguments = ["demo", "--dir", &at, "--rows", "3000", "--no-serve"];
    let (code, _, err) = mountable("memory:not-used", &arguments);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("made acme/shop/order_lines: 3000 rows"), "{err}");
    let (code, _, err) = mountable("memory:not-used", &arguments);
    assert_eq!((code, err.as_str()), (0, ""));
    let lake = dir.path().join("demo/lake").display().to_string();
    let (code, out, _) = mountable(&lake, &["cat", "acme/shop/products"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("product_id,sku,name,category,price,weight_kg,in_stock\n1,000037,"));
    assert_eq!(mountable("memory:x", &["demo", "--lake", "/elsewhere"]).0, 2);
}
