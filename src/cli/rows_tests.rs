//! `delete`, `update` and `upsert` against lakes in directories.

use super::tests::Lab;

/// Table `a/b/t` with key `id`, in two data files; version 2.
fn lab() -> Lab {
    let lab = Lab::new();
    let first = lab.file("1.csv", "id,status,total\n1,open,9.50\n2,paid,20.00\n3,open,\n");
    let second = lab.file("2.csv", "id,status,total\n4,open,1.00\n5,void,2.00\n");
    lab.ok(&["create", "a/b/t", "--columns", "id:int64,status:text,total:decimal(8,2)"]);
    lab.ok(&["load", "a/b/t", &first, "--keys", "id"]);
    lab.ok(&["load", "a/b/t", &second]);
    lab
}

fn newest(lab: &Lab) -> serde_json::Value {
    let log: serde_json::Value =
        serde_json::from_str(&lab.ok(&["log", "a/b/t", "-n", "1", "--json"])).unwrap();
    log[0].clone()
}

fn sound(lab: &Lab) {
    assert!(lab.ok(&["fsck", "--deep"]).contains("0 errors, 0 warnings"));
}

#[test]
fn rows_that_meet_a_condition_are_deleted_in_one_commit() {
    let lab = lab();
    let before = newest(&lab)["version"].as_u64().unwrap();
    let dry = lab.ok(&["delete", "a/b/t", "--where", "status = 'open'", "--dry-run"]);
    assert_eq!(dry, "3 of 5 rows would be deleted (3 meet the condition)\n");
    assert_eq!(newest(&lab)["version"], before, "a rehearsal commits nothing");
    let (code, out, err) =
        lab.run(&["delete", "a/b/t", "--where", "status = 'open' AND total < 9.6", "-m", "old"]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains(": 2 rows deleted; 3 rows in all"), "{err}");
    assert_eq!(lab.ok(&["cat", "a/b/t"]), "id,status,total\n2,paid,20.00\n3,open,\n5,void,2.00\n");
    let log = newest(&lab);
    assert_eq!((&log["version"], &log["deleted"]), (&(before + 1).into(), &2.into()));
    assert_eq!((&log["operation"], &log["message"]), (&"delete".into(), &"old".into()));
    let (code, _, err) = lab.run(&["delete", "a/b/t", "--where", "id = 77"]);
    assert_eq!(code, 0);
    assert!(err.contains("stays at version") && err.contains("0 rows meet"), "{err}");
    lab.ok(&["delete", "a/b/t", "--where", "TRUE"]);
    assert_eq!(lab.ok(&["cat", "a/b/t"]), "id,status,total\n");
    sound(&lab);
}

#[test]
fn columns_of_rows_that_meet_a_condition_get_new_values_where_they_stand() {
    let lab = lab();
    let update = ["update", "a/b/t", "--set", "status = 'late'", "--set", "total=NULL", "--where"];
    let with = |condition: &'static str| [&update[..], &[condition]].concat();
    let dry = lab.ok(&[&with("id IN (1, 3, 4)")[..], &["--dry-run"]].concat());
    assert_eq!(dry, "3 of 5 rows would be changed (3 meet the condition)\n");
    let (code, _, err) = lab.run(&with("id IN (1, 3, 4)"));
    assert_eq!(code, 0, "{err}");
    assert!(err.contains(": 3 rows changed; 5 rows in all"), "{err}");
    let text = "id,status,total\n1,late,\n2,paid,20.00\n3,late,\n4,late,\n5,void,2.00\n";
    assert_eq!(lab.ok(&["cat", "a/b/t"]), text);
    let log = newest(&lab);
    assert_eq!((&log["operation"], &log["updated"]), (&"update".into(), &3.into()));
    let (code, _, err) = lab.run(&with("id = 1"));
    assert_eq!(code, 0);
    assert!(err.contains("1 rows meet the condition, 0 changed"), "{err}");
    assert_eq!(newest(&lab)["version"], log["version"], "it is so already");
    sound(&lab);
}

#[test]
fn updates_that_break_a_key_and_bad_expressions_change_nothing() {
    let lab = lab();
    let text = lab.ok(&["cat", "a/b/t"]);
    let update = |set: &str, condition: &str| {
        lab.run(&["update", "a/b/t", "--set", set, "--where", condition])
    };
    assert_eq!(update("id = 2", "id = 1").0, 4, "the key exists");
    assert_eq!(update("id = 8", "id < 3").0, 4, "the key is given twice");
    assert_eq!(update("id = NULL", "id = 1").0, 4, "the key is NULL");
    assert_eq!(update("id = 8", "id = 1").0, 0);
    assert_eq!(update("id = 1", "id = 8").0, 0);
    assert_eq!(update("total = 'x'", "id = 1").0, 2);
    assert_eq!(update("status = late", "id = 1").0, 2);
    let (code, _, err) = update("status = 'x'", "totl > 1");
    assert_eq!(code, 2);
    assert!(err.contains("did you mean: total"), "{err}");
    assert_eq!(lab.run(&["delete", "a/b/t"]).0, 2, "all rows are only meant by TRUE");
    assert_eq!(lab.run(&["update", "a/b/t", "--where", "TRUE"]).0, 2);
    assert_eq!(lab.run(&["delete", "a/b/none", "--where", "TRUE"]).0, 3);
    let read_only = ["delete", "a/b/t", "--where", "TRUE", "--set", "read_only=true"];
    assert_eq!(lab.run(&read_only).0, 5);
    assert_eq!(lab.ok(&["cat", "a/b/t"]), text);
    sound(&lab);
}

#[test]
fn an_upsert_replaces_by_key_and_leaves_out_what_is_not_newer() {
    let lab = Lab::new();
    let first = lab.file("1.csv", "id,rev,name\n1,5,x\n2,5,y\n3,,z\n");
    lab.ok(&["upsert", "a/b/u", &first, "--keys", "id", "--newer-than", "rev"]);
    let second = lab.file("2.csv", "id,rev,name\n1,4,old\n2,6,new\n3,1,first\n2,7,newest\n4,1,w\n");
    let upsert = ["upsert", "a/b/u", second.as_str(), "--newer-than", "rev"];
    let (code, _, err) = lab.run(&upsert);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("3 of 5 rows are newer"), "{err}");
    let text = "id,rev,name\n1,5,x\n2,7,newest\n3,1,first\n4,1,w\n";
    assert_eq!(lab.ok(&["cat", "a/b/u"]), text);
    let version = || lab.ok(&["log", "a/b/u", "-n", "1", "--json"]);
    let before = version();
    assert!(before.contains("\"upsert\""), "{before}");
    let (code, _, err) = lab.run(&upsert);
    assert_eq!(code, 0);
    assert!(err.contains("0 of 5 rows are newer") && err.contains("stays at version"), "{err}");
    assert_eq!(version(), before, "the same rows again change nothing");
    let third = lab.file("3.csv", "id,rev,name\n1,1,plain\n");
    lab.ok(&["upsert", "a/b/u", &third]);
    assert!(lab.ok(&["cat", "a/b/u"]).contains("\n1,1,plain\n"), "without it, the file wins");
    assert_eq!(lab.run(&["upsert", "a/b/u", &third, "--newer-than", "none"]).0, 2);
    assert_eq!(lab.run(&["upsert", "a/b/v", &third, "--newer-than", "rev"]).0, 2, "no keys");
    assert_eq!(lab.run(&["cat", "a/b/v"]).0, 3, "no table is left behind");
    sound(&lab);
}

#[test]
fn rows_are_exported_in_every_format_and_load_again() {
    let lab = Lab::new();
    let text = "id,name,price,day,ok\n1,\"a,b\",1.50,2026-11-21,true\n2,=1+1,-2.00,,\n3,,,,false\n";
    let first = lab.file("1.csv", text);
    let columns = "id:int64,name:text,price:decimal(8,2),day:date,ok:bool";
    lab.ok(&["create", "a/b/t", "--columns", columns]);
    lab.ok(&["load", "a/b/t", &first]);
    let before = lab.ok(&["cat", "a/b/t"]);
    lab.ok(&["delete", "a/b/t", "--where", "id = 3"]);
    assert_eq!(lab.ok(&["export", "a/b/t~1", "--format", "csv"]), before);
    let safe = lab.ok(&["export", "a/b/t", "--format", "safe-csv"]);
    assert!(safe.contains("2,'=1+1,-2.00,,\n") && !safe.contains("\n3,"), "{safe}");
    let json = lab.ok(&["export", "a/b/t", "--format", "jsonl"]);
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["id"], &lines[0]["name"]), (&1.into(), &"a,b".into()));
    assert_eq!((&lines[0]["price"], &lines[1]["day"]), (&1.5.into(), &serde_json::Value::Null));
    assert!(json.starts_with("{\"id\":1,\"name\":\"a,b\",\"price\":1.50,"), "{json}");
    for format in ["jsonl", "parquet", "arrow"] {
        let file = lab.file(format, "");
        std::fs::remove_file(&file).unwrap();
        lab.ok(&["export", "a/b/t", "--format", format, "-o", &file]);
        assert_eq!(lab.run(&["export", "a/b/t", "--format", format, "-o", &file]).0, 4);
        let table = format!("a/b/{format}");
        lab.ok(&["create", &table, "--columns", columns]);
        lab.ok(&["load", &table, &file]);
        assert_eq!(lab.ok(&["cat", &table]), lab.ok(&["cat", "a/b/t"]), "{format}");
    }
    assert_eq!(lab.run(&["export", "a/b/none", "--format", "csv", "-o", "/tmp/none"]).0, 3);
    assert_eq!(lab.run(&["export", "a/b/t"]).0, 2);
}

#[test]
fn figures_of_a_table_are_told() {
    let lab = lab();
    lab.ok(&["delete", "a/b/t", "--where", "id = 5"]);
    let stats: serde_json::Value =
        serde_json::from_str(&lab.ok(&["stats", "a/b/t", "--json"])).unwrap();
    let figure = |name: &str| stats[name].as_u64().unwrap();
    assert_eq!((figure("rows"), figure("deleted_rows"), figure("files")), (4, 1, 2));
    assert_eq!((figure("row_groups"), figure("pieces")), (2, 2));
    assert_eq!(figure("csv_bytes"), lab.ok(&["cat", "a/b/t"]).len() as u64);
    let total = &stats["columns"][2];
    assert_eq!((&total["name"], &total["nulls"]), (&"total".into(), &1.into()));
    assert_eq!((&total["min"], &total["max"]), (&"1.00".into(), &"20.00".into()));
    let status = &stats["columns"][1];
    assert_eq!((&status["min"], &status["max"]), (&"open".into(), &"void".into()));
    let text = lab.ok(&["stats", "a/b/t"]);
    assert!(text.contains("deleted rows  1") && text.contains("COLUMN"), "{text}");
    assert_eq!(lab.run(&["stats", "a/b/t@99"]).0, 3);
}
