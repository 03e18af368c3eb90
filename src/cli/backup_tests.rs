//! Backups of lakes in directories: taken, read back, restored.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::tests::{Lab, mountable};
use crate::lake::{TableId, VacuumSettings};

fn beside(lab: &Lab, name: &str) -> String {
    Path::new(&lab.lake).parent().unwrap().join(name).display().to_string()
}

/// A table with a past, a renamed one, a dropped one and a refused save's neighbour.
fn lived() -> Lab {
    let lab = Lab::new();
    let [a, b, c] =
        [("1", "id,name\n1,x\n2,y\n3,z\n"), ("2", "id,name\n2,Y\n4,w\n"), ("3", "q\n1\n")]
            .map(|(name, text)| lab.file(&format!("{name}.csv"), text));
    lab.ok(&["load", "a/b/t", &a, "--keys", "id", "-m", "first"]);
    lab.ok(&["load", "a/b/t", &b, "--mode", "upsert"]);
    lab.ok(&["delete", "a/b/t", "--where", "id = 3"]);
    lab.ok(&["load", "a/b/old", &c]);
    lab.ok(&["rename", "a/b/old", "a/c/new"]);
    lab.ok(&["load", "a/c/new", &c]);
    lab.ok(&["load", "a/b/gone", &c]);
    lab.ok(&["drop", "a/b/gone", "--yes"]);
    lab.ok(&["create", "empty"]);
    lab
}

fn export(lake: &str) -> String {
    let (code, text, err) = mountable(lake, &["catalog", "export", "-"]);
    assert_eq!(code, 0, "{err}");
    text
}

fn json(lake: &str, arguments: &[&str]) -> Value {
    let (code, text, err) = mountable(lake, &[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {err} {text}");
    serde_json::from_str(&text).unwrap()
}

/// Restores into a new lake and tells its directory.
fn restored(lab: &Lab, from: &str, name: &str, more: &[&str]) -> String {
    let into = beside(lab, name);
    let arguments = [&["backup", "restore", from, "--into", &into], more].concat();
    let (code, out, err) = mountable("", &arguments);
    assert_eq!(code, 0, "{err} {out}");
    assert!(out.contains(": 0 errors, 0 warnings"), "{out}");
    into
}

#[track_caller]
fn same_text(one: &str, other: &str, arguments: &[&str]) {
    let [one, other] = [one, other].map(|lake| mountable(lake, arguments));
    assert_eq!(one.0, 0, "{arguments:?}: {}", one.2);
    assert_eq!(one, other, "{arguments:?}");
}

/// Files of objects below a place of backups.
fn files(place: &str, folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(place).join(folder)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[test]
fn a_restored_lake_is_the_lake_that_was_backed_up() {
    let lab = lived();
    let place = beside(&lab, "backups");
    lab.ok(&["backup", "full", &place]);
    let (code, out, err) = mountable("", &["backup", "verify", &place]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("the whole lake") && out.contains(": 0 errors"), "{out}");
    let new = restored(&lab, &place, "new", &[]);
    assert_eq!(export(&lab.lake), export(&new));
    for arguments in [
        &["cat", "a/b/t"][..],
        &["cat", "a/b/t@1"],
        &["log", "a/b/t", "--json"],
        &["log", "a/c/new", "--json"],
        &["cat", "a/c/new~1"],
        &["schema", "a/b/t", "--json"],
        &["restore", "a/b"],
        &["ls"],
        &["fsck", "--deep", "--json"],
    ] {
        same_text(&lab.lake, &new, arguments);
    }
    // It goes on as the old one would.
    let trash = mountable(&new, &["restore", "a/b"]).1;
    assert_eq!(mountable(&new, &["restore", "a/b", trash.trim()]).0, 0);
    assert_eq!(mountable(&new, &["cat", "a/b/gone"]).1, "q\n1\n");
    assert_eq!(mountable(&new, &["delete", "a/b/t", "--where", "TRUE"]).0, 0);
    assert!(mountable(&new, &["fsck", "--deep"]).1.contains("0 errors, 0 warnings"));
}

#[test]
fn an_incremental_backup_copies_only_what_is_new() {
    let lab = lived();
    let place = beside(&lab, "backups");
    assert_eq!(lab.run(&["backup", "incremental", &place]).0, 3, "nothing to build on");
    let full = json(&lab.lake, &["backup", "full", &place]);
    assert_eq!((&full["new_objects"], &full["new_bytes"]), (&full["objects"], &full["bytes"]));
    let nothing = json(&lab.lake, &["backup", "incremental", &place]);
    assert_eq!(nothing["new_objects"], 0);
    assert_eq!(nothing["objects"], full["objects"]);
    let more = lab.file("more.csv", "id,name\n9,v\n");
    lab.ok(&["load", "a/b/t", &more]);
    let second = json(&lab.lake, &["backup", "incremental", &place]);
    let count = |done: &Value, name: &str| done[name].as_u64().unwrap();
    let more = count(&second, "objects") - count(&full, "objects");
    assert!(more >= 2, "a snapshot and a data file: {second}");
    assert_eq!(count(&second, "new_objects"), more);
    let new = restored(&lab, &place, "new", &[]);
    assert_eq!(export(&lab.lake), export(&new));
    same_text(&lab.lake, &new, &["cat", "a/b/t"]);
    let first = restored(&lab, &place, "first", &["--backup", full["id"].as_str().unwrap()]);
    assert_eq!(mountable(&first, &["cat", "a/b/t"]).1, lab.ok(&["cat", "a/b/t~1"]));
    let report = json("", &["backup", "verify", &place]);
    assert_eq!(report["backups"].as_array().map(Vec::len), Some(3));
    assert_eq!(report["objects"], second["objects"], "each object is kept once");
}

#[test]
fn damage_is_found_and_a_full_backup_mends_it() {
    let lab = lived();
    let place = beside(&lab, "backups");
    lab.ok(&["backup", "full", &place]);
    let objects = files(&place, "objects");
    let data = objects.iter().find(|path| path.extension().is_some_and(|e| e == "parquet"));
    let data = data.unwrap();
    let mut bytes = std::fs::read(data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(data, &bytes).unwrap();
    let (code, out, _) = mountable("", &["backup", "verify", &place]);
    assert_eq!(code, 1);
    let name = data.file_name().unwrap().to_str().unwrap();
    assert!(out.contains(name) && out.contains("another checksum"), "{out}");
    let into = beside(&lab, "damaged");
    let (code, _, err) = mountable("", &["backup", "restore", &place, "--into", &into]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains(name), "{err}");
    lab.ok(&["backup", "full", &place]);
    let new = restored(&lab, &place, "new", &[]);
    same_text(&lab.lake, &new, &["log", "a/b/t", "--json"]);
    std::fs::remove_file(data).unwrap();
    let out = mountable("", &["backup", "verify", &place]).1;
    assert!(out.contains("is missing"), "{out}");
    // The list itself.
    let list = files(&place, "manifests").pop().unwrap();
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, text.replace("\"bytes\":", "\"bytes\":1")).unwrap();
    let (code, out, _) = mountable("", &["backup", "verify", &place]);
    assert!(code == 1 && out.contains("backup-list"), "{out}");
    let (code, _, err) = mountable("", &["backup", "restore", &place, "--into", &into]);
    assert_eq!(code, 1, "the newest backup is damaged, no other is taken for it: {err}");
}

#[test]
fn an_object_that_the_list_lacks_is_missed() {
    let lab = lived();
    let place = beside(&lab, "backups");
    lab.ok(&["backup", "full", &place]);
    let list = files(&place, "manifests").pop().unwrap();
    let text = std::fs::read_to_string(&list).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let left_out = lines.iter().position(|line| line.contains("_data.parquet\",\"bytes")).unwrap();
    let end = lines.len() - 1;
    let kept = lines.iter().enumerate().filter(|(at, _)| *at != left_out && *at != end);
    let body: String = kept.map(|(_, line)| format!("{line}\n")).collect();
    let sha256: String = <sha2::Sha256 as sha2::Digest>::digest(body.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let end = serde_json::json!({"end": {"lines": end - 1, "sha256": sha256}});
    std::fs::write(&list, format!("{body}{end}\n")).unwrap();
    let (code, out, err) = mountable("", &["backup", "verify", &place]);
    assert_eq!(code, 1, "{out} {err}");
    assert!(out.contains("backup-complete"), "{out}");
}

#[test]
fn a_backup_without_its_list_is_none_and_the_next_one_uses_what_it_copied() {
    let lab = lived();
    let place = beside(&lab, "backups");
    lab.ok(&["backup", "full", &place]);
    std::fs::remove_dir_all(Path::new(&place).join("manifests")).unwrap();
    let kept = files(&place, "objects");
    // The last object of the killed one is missing, too.
    std::fs::remove_file(kept.last().unwrap()).unwrap();
    let into = beside(&lab, "new");
    assert_eq!(mountable("", &["backup", "verify", &place]).0, 3);
    assert_eq!(mountable("", &["backup", "restore", &place, "--into", &into]).0, 3);
    assert_eq!(lab.run(&["backup", "incremental", &place]).0, 3);
    let full = json(&lab.lake, &["backup", "full", &place]);
    assert_eq!(full["new_objects"], 1);
    assert_eq!(files(&place, "objects"), kept);
    assert_eq!(mountable("", &["backup", "verify", &place]).0, 0);
    restored(&lab, &place, "new", &[]);
}

#[test]
fn backups_and_restores_are_refused_where_something_is() {
    let lab = lived();
    let place = beside(&lab, "backups");
    lab.ok(&["backup", "full", &place]);
    let other = Lab::new();
    let code = |into: &str| mountable("", &["backup", "restore", &place, "--into", into]).0;
    assert_eq!(code(&lab.lake), 4);
    assert_eq!(code(&other.lake), 4, "an empty lake is a lake");
    lab.file("notes.txt", "x");
    assert_eq!(code(&beside(&lab, "")), 2, "a directory with other files");
    let into = beside(&lab, "new");
    let catalog = Path::new(&lab.lake).join(".mountable/catalog.sqlite").display().to_string();
    let arguments = ["backup", "restore", &place, "--into", &into, "--catalog", &catalog];
    assert_eq!(mountable("", &arguments).0, 4);
    assert_eq!(files(&into, ""), Vec::<PathBuf>::new(), "nothing was copied");
    let inside = Path::new(&lab.lake).join("backups").display().to_string();
    assert_eq!(lab.run(&["backup", "full", &inside]).0, 2);
    assert_eq!(lab.run(&["backup", "full", &other.lake]).0, 2);
    assert_eq!(lab.run(&["backup", "full", &place, "a/b/none"]).0, 3);
    assert_eq!(lab.run(&["backup", "full", &place, "a/b/c/d"]).0, 2);
    assert_eq!(mountable("", &["backup", "full", &place]).0, 2, "which lake?");
    assert_eq!(mountable("", &["backup", "verify", &beside(&lab, "nowhere")]).0, 3);
    assert!(!Path::new(&beside(&lab, "nowhere")).exists());
}

#[test]
fn tables_come_back_as_they_were_at_a_time() {
    let lab = lived();
    let place = beside(&lab, "backups");
    lab.ok(&["backup", "full", &place]);
    let log = json(&lab.lake, &["log", "a/b/t"]);
    let time = log[1]["time"].as_str().unwrap();
    let new = restored(&lab, &place, "new", &["--to", time]);
    assert_eq!(mountable(&new, &["cat", "a/b/t"]).1, lab.ok(&["cat", "a/b/t~1"]));
    same_text(&lab.lake, &new, &["cat", "a/c/new"]);
    assert_eq!(json(&new, &["log", "a/b/t"])[0]["operation"], "restore");
    let into = beside(&lab, "none");
    let version = ["backup", "restore", &place, "--into", &into, "--to", "1"];
    assert_eq!(mountable("", &version).0, 2, "versions of several tables");
    let report: Value = {
        let arguments = ["backup", "restore", &place, "--into", &into, "--to", "1990-01-01"];
        json("", &arguments)
    };
    assert_eq!(report["left"], serde_json::json!(["a/b/t", "a/c/new"]));
    same_text(&lab.lake, &into, &["log", "a/b/t", "--json"]);
}

#[test]
fn a_single_table_is_backed_up_with_what_it_came_from() {
    let lab = lived();
    let place = beside(&lab, "backups");
    lab.ok(&["backup", "full", &place, "a/c/new"]);
    lab.ok(&["backup", "full", &place, "a/b/t"]);
    let report = json("", &["backup", "verify", &place]);
    assert_eq!(report["backups"][0]["scope"], "a/c/new");
    let id = report["backups"][0]["id"].as_str().unwrap();
    let moved = restored(&lab, &place, "moved", &["--backup", id]);
    same_text(&lab.lake, &moved, &["log", "a/c/new", "--json"]);
    same_text(&lab.lake, &moved, &["cat", "a/c/new~1"]);
    assert_eq!(mountable(&moved, &["cat", "a/b/t"]).0, 3);
    let table = restored(&lab, &place, "table", &["--to", "1"]);
    assert_eq!(mountable(&table, &["cat", "a/b/t"]).1, lab.ok(&["cat", "a/b/t@1"]));
    same_text(&lab.lake, &table, &["cat", "a/b/t@3"]);
}

/// Vacuums at once; the verb asks for an hour.
fn vacuum(lab: &Lab, table: &str) {
    let environment = crate::config::Environment::of([("MOUNTABLE_LAKE", lab.lake.as_str())]);
    let flags = crate::config::Flags::default();
    let settings = crate::config::load(&flags, &environment).unwrap().settings;
    let session = super::Session { settings, clock: super::system_clock() };
    let id = TableId::parse(table).unwrap();
    let all = VacuumSettings::older_than(Duration::ZERO);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let lake = session.lake().await.unwrap();
        let done = lake.vacuum(&session.who(), &id, &all, "").await.unwrap();
        assert!(done.versions > 0, "{done:?}");
    });
}

#[test]
fn an_earlier_backup_stays_whole_after_a_vacuum() {
    let lab = lived();
    let place = beside(&lab, "backups");
    let before = lab.ok(&["log", "a/b/t", "--json"]);
    let first = json(&lab.lake, &["backup", "full", &place]);
    vacuum(&lab, "a/b/t");
    let after = lab.ok(&["log", "a/b/t", "--json"]);
    assert_ne!(before, after);
    json(&lab.lake, &["backup", "incremental", &place]);
    assert!(!files(&place, "changed").is_empty(), "stubs");
    assert_eq!(mountable("", &["backup", "verify", &place]).0, 0);
    let old = restored(&lab, &place, "old", &["--backup", first["id"].as_str().unwrap()]);
    assert_eq!(mountable(&old, &["log", "a/b/t", "--json"]).1, before);
    let new = restored(&lab, &place, "new", &[]);
    assert_eq!(mountable(&new, &["log", "a/b/t", "--json"]).1, after);
    same_text(&lab.lake, &new, &["cat", "a/b/t"]);
    // A time before the vacuum is in the first backup only.
    let log: Value = serde_json::from_str(&before).unwrap();
    let time = log[1]["time"].as_str().unwrap();
    let then = restored(&lab, &place, "then", &["--to", time]);
    assert_eq!(mountable(&then, &["cat", "a/b/t"]).1, mountable(&old, &["cat", "a/b/t~1"]).1);
}

#[test]
fn what_is_gone_ends_a_backup_and_leaves_no_list() {
    let lab = lived();
    let place = beside(&lab, "backups");
    let data = files(&lab.lake, "a/b/tables/t/data").pop().unwrap();
    std::fs::remove_file(data).unwrap();
    let (code, _, err) = lab.run(&["backup", "full", &place]);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("fsck") && err.contains("vacuum"), "{err}");
    assert_eq!(mountable("", &["backup", "verify", &place]).0, 3);
}
