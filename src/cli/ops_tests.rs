//! The verbs of operators and of history, against lakes in directories.

use super::tests::Lab;

fn history(lab: &Lab) -> Vec<serde_json::Value> {
    serde_json::from_str(&lab.ok(&["log", "a/b/t", "--json"])).unwrap()
}

/// Versions 0 (empty), 1, 2 and 3 of a table with a key.
fn versions(lab: &Lab) {
    for (number, (mode, text)) in [
        ("append", "id,name\n1,x\n2,y\n3,z\n"),
        ("upsert", "id,name\n2,Y\n4,w\n"),
        ("replace", "id,name\n2,Y\n9,v\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = lab.file(&format!("{number}.csv"), text);
        let message = format!("load {number}");
        lab.ok(&["load", "a/b/t", &file, "--mode", mode, "--keys", "id", "-m", &message]);
    }
}

#[test]
fn versions_are_named_by_number_time_and_distance() {
    let lab = Lab::new();
    versions(&lab);
    let second = "id,name\n1,x\n2,Y\n3,z\n4,w\n";
    for name in ["a/b/t@2", "a/b/t@v2", "a/b/t~1", "a/b/t~", "a/b/t@3~1"] {
        assert_eq!(lab.ok(&["cat", name]), second, "{name}");
    }
    assert_eq!(lab.ok(&["cat", "a/b/t@2~1"]), "id,name\n1,x\n2,y\n3,z\n");
    let when = history(&lab)[1]["time"].as_str().unwrap().to_owned();
    assert_eq!(lab.ok(&["cat", &format!("a/b/t@{when}")]), second);
    assert_eq!(lab.run(&["cat", "a/b/t~9"]).0, 3);
    assert_eq!(lab.run(&["cat", "a/b/t@9"]).0, 3);
    assert_eq!(lab.run(&["cat", "a/b/t@1970-01-01"]).0, 3);
    assert_eq!(lab.run(&["cat", "a/b/t~x"]).0, 2);
    let log: Vec<serde_json::Value> =
        serde_json::from_str(&lab.ok(&["log", "a/b/t~1", "--json"])).unwrap();
    assert_eq!(log[0]["version"], 2);
}

#[test]
fn a_comparison_shows_removed_added_and_changed_rows() {
    let lab = Lab::new();
    versions(&lab);
    let changed = "_op,id,name\n-,2,y\n+,2,Y\n+,4,w\n";
    assert_eq!(lab.ok(&["diff", "a/b/t@1", "a/b/t@2"]), changed);
    assert_eq!(lab.ok(&["diff", "a/b/t", "1..2"]), changed);
    let to_newest = "_op,id,name\n+,9,v\n-,1,x\n-,3,z\n-,4,w\n";
    assert_eq!(lab.ok(&["diff", "a/b/t@2"]), to_newest, "the row that was written again is equal");
    assert_eq!(lab.ok(&["diff", "a/b/t", "a/b/t"]), "_op,id,name\n");
    let show = lab.ok(&["show", "a/b/t@2"]);
    assert!(show.ends_with(changed), "{show}");
    assert!(show.contains("# message: load 1\n"), "{show}");
    assert!(lab.ok(&["show", "a/b/t@0"]).contains("# operation: create"));
}

#[test]
fn columns_of_both_sides_are_shown() {
    let lab = Lab::new();
    let first = lab.file("1.csv", "id,name\n1,x\n");
    let second = lab.file("2.csv", "id,name,more\n2,y,z\n");
    lab.ok(&["load", "a/b/t", &first]);
    lab.ok(&["load", "a/b/t", &second, "--add-columns"]);
    let newest = history(&lab)[0]["version"].to_string();
    let diff = lab.ok(&["diff", "a/b/t", &format!("1..{newest}")]);
    assert_eq!(diff, "_op,id,name,more\n+,2,y,z\n");
    let wide = lab.ok(&["cat", "a/b/t"]);
    lab.ok(&["restore", "a/b/t", "--to", "1"]);
    assert_eq!(lab.ok(&["cat", "a/b/t"]), "id,name\n1,x\n", "columns go back, too");
    lab.ok(&["restore", "a/b/t", "--to", &newest]);
    assert_eq!(lab.ok(&["cat", "a/b/t"]), wide);
    assert!(lab.ok(&["fsck", "--deep"]).contains("0 errors, 0 warnings"));
}

#[test]
fn an_old_version_comes_back_as_a_new_one() {
    let lab = Lab::new();
    versions(&lab);
    lab.ok(&["restore", "a/b/t", "--to", "1"]);
    assert_eq!(lab.ok(&["cat", "a/b/t"]), lab.ok(&["cat", "a/b/t@1"]));
    let log = history(&lab);
    assert_eq!((&log[0]["version"], &log[0]["operation"]), (&4.into(), &"restore".into()));
    assert_eq!(log[0]["message"], "to version 1");
    assert_eq!((&log[0]["inserted"], &log[0]["deleted"]), (&3.into(), &2.into()));
    lab.ok(&["restore", "a/b/t", "--to", "1"]);
    assert_eq!(history(&lab).len(), 5, "it is so already");
    lab.ok(&["restore", "a/b/t", "--to", "~1"]);
    assert_eq!(lab.ok(&["cat", "a/b/t"]), "id,name\n2,Y\n9,v\n");
    let more = lab.file("more.csv", "id,name\n1,new\n2,newer\n");
    lab.ok(&["load", "a/b/t", &more, "--mode", "upsert"]);
    assert_eq!(lab.ok(&["cat", "a/b/t"]), "id,name\n2,newer\n9,v\n1,new\n");
    assert_eq!(lab.run(&["restore", "a/b/t", "--to", "99"]).0, 3);
    assert!(lab.ok(&["fsck", "--deep"]).contains("0 errors, 0 warnings"));
}

#[test]
fn a_check_ends_with_one_when_something_is_damaged() {
    let lab = Lab::new();
    versions(&lab);
    assert!(lab.ok(&["fsck"]).contains("1 tables, 4 versions"));
    let report: serde_json::Value = serde_json::from_str(&lab.ok(&["fsck", "--json"])).unwrap();
    assert_eq!(report["findings"], serde_json::json!([]));
    assert_eq!(lab.run(&["fsck", "a/b/none"]).0, 3);
    std::fs::remove_dir_all(format!("{}/a/b/tables/t/data", lab.lake)).unwrap();
    let (code, out, _) = lab.run(&["fsck", "a/b/t"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("data file is missing") && out.contains("what to do"), "{out}");
}

#[test]
fn a_check_makes_no_lake_of_another_directory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("photos")).unwrap();
    let place = directory.path().display().to_string();
    for verb in [&["fsck"][..], &["fsck", "--rebuild"]] {
        assert_eq!(super::tests::mountable(&place, verb).0, 3);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn left_temporary_files_are_named() {
    let lab = Lab::new();
    versions(&lab);
    let folder = format!("{}/a/b/tables/t/data", lab.lake);
    std::fs::write(format!("{folder}/x.parquet#123000000001"), "half").unwrap();
    let out = lab.ok(&["fsck"]);
    assert!(out.contains("x.parquet#123000000001") && out.contains("[leftover]"), "{out}");
}

#[test]
fn a_deleted_catalogue_is_made_again() {
    let lab = Lab::new();
    versions(&lab);
    let before = (lab.ok(&["log", "a/b/t", "--json"]), lab.ok(&["cat", "a/b/t"]));
    for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(format!("{}/.mountable/{name}", lab.lake));
    }
    assert_eq!(lab.run(&["fsck"]).0, 1);
    assert!(lab.ok(&["fsck", "--rebuild", "--dry-run"]).contains("would be named"));
    assert_eq!(lab.run(&["cat", "a/b/t"]).0, 3);
    assert!(lab.ok(&["fsck", "--rebuild"]).contains("table a/b/t named, version 3"));
    assert_eq!((lab.ok(&["log", "a/b/t", "--json"]), lab.ok(&["cat", "a/b/t"])), before);
    assert!(lab.ok(&["fsck", "--rebuild"]).contains("1 tables sound"));
}

#[test]
fn a_catalogue_is_exported_and_imported() {
    let lab = Lab::new();
    versions(&lab);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("export.jsonl").display().to_string();
    lab.ok(&["catalog", "export", &file]);
    assert_eq!(lab.run(&["catalog", "export", &file]).0, 4, "files are not overwritten");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let other = format!("{file}.sqlite");
    lab.ok(&["catalog", "import", &file, "--catalog", &other]);
    assert_eq!(lab.ok(&["log", "a/b/t", "--catalog", &other]), lab.ok(&["log", "a/b/t"]));
    assert_eq!(lab.run(&["catalog", "import", &file, "--catalog", &other]).0, 4);
    assert_eq!(lab.run(&["catalog", "import", &lab.file("x.csv", "id\n1\n")]).0, 2);
}

#[test]
fn the_doctor_finds_a_sound_lake_sound_and_a_missing_one_missing() {
    let lab = Lab::new();
    let out = lab.ok(&["doctor"]);
    assert!(out.contains("create-only puts are honoured"), "{out}");
    assert!(out.contains("embedded catalogue"), "{out}");
    let (code, out, _) = super::tests::mountable("/nonexistent/lake", &["doctor"]);
    assert_eq!(code, 1);
    assert!(out.contains("error: storage") && out.contains("what to do"), "{out}");
    assert!(!std::path::Path::new("/nonexistent").exists());
}
