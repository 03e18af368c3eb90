//! Old versions below a table: named as on the command line, compared as files.

use crate::support::Lab;

async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.table("t").key("id").rows("id,qty\n1,5\n2,6\n").await;
    let a = lab.client("a");
    a.append_cold("t.csv", "3,7\n").await.unwrap();
    a.sed("t.csv", |text| text.replace("2,6\n", "2,60\n")).await.unwrap();
    lab.settles("t", "id,qty\n1,5\n2,60\n3,7\n").await;
    assert_eq!(lab.versions("t").await, 4);
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_of_two_versions_is_a_file() {
    let lab = lab().await;
    let diff = lab.client("a").at("acme/shop/t/.diff");
    assert_eq!(diff.cat("1..2.csv").await, "_op,id,qty\n+,3,7\n");
    assert_eq!(diff.cat("2..3.csv").await, "_op,id,qty\n-,2,6\n+,2,60\n");
    assert_eq!(diff.cat("3..2.csv").await, "_op,id,qty\n-,2,60\n+,2,6\n");
    assert_eq!(diff.cat("~1...csv").await, diff.cat("2..3.csv").await);
    assert_eq!(diff.cat("2..2.csv").await, "_op,id,qty\n");
    for none in ["1..9.csv", "1-2.csv", "1..2", "x..2.csv"] {
        assert!(diff.lookup(none).await.is_err(), "{none}");
    }
    assert!(diff.append_cold("1..2.csv", "x\n").await.is_err());
    assert_eq!(diff.names().await, [".", ".."], "what repeats data is not listed");
}

#[tokio::test(flavor = "multi_thread")]
async fn distances_name_versions_in_the_tree() {
    let lab = lab().await;
    let cat = async |version: &str| {
        lab.client("a").at(&format!("acme/shop/t/.at/{version}")).cat("t.csv").await
    };
    assert_eq!(cat("~1").await, "id,qty\n1,5\n2,6\n3,7\n");
    assert_eq!(cat("3~2").await, "id,qty\n1,5\n2,6\n");
    assert_eq!(cat("v1").await, "id,qty\n1,5\n2,6\n");
    assert!(lab.client("a").at("acme/shop/t/.at").lookup("~9").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_grows_at_its_end() {
    let lab = lab().await;
    let about = lab.client("a").at("acme/shop/t");
    let lines = async || -> Vec<String> {
        let text = about.cat("changes.csv").await;
        let without_time = |line: &str| {
            let mut cells: Vec<&str> = line.splitn(3, ',').collect();
            assert!(cells[1] == "_time" || cells[1].ends_with('Z'), "{line}");
            cells.remove(1);
            cells.join(",")
        };
        text.lines().map(without_time).collect()
    };
    let first = lines().await;
    let expected = ["_version,_op,id,qty", "1,+,1,5", "1,+,2,6", "2,+,3,7", "3,-,2,6", "3,+,2,60"];
    assert_eq!(first, expected);
    assert!(!about.names().await.contains(&"changes.csv".to_owned()), "it repeats data");
    lab.client("b").append_cold("t.csv", "4,8\n").await.unwrap();
    // A compaction changes no row.
    let all = mountable::lake::CompactSettings::all();
    let door = lab.another_door();
    door.compact(&crate::support::principal("manage"), &Lab::id("t"), &all).await.unwrap();
    lab.foreign_edit("t", 0, 1, "").await;
    let mut seen = Vec::new();
    for _ in 0..500 {
        seen = lines().await;
        if seen.len() == expected.len() + 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(&seen[..expected.len()], expected);
    assert_eq!(&seen[expected.len()..], ["4,+,4,8", "6,-,1,5"]);
    assert!(about.append_cold("changes.csv", "x\n").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_traced_to_the_version_that_wrote_it() {
    let lab = lab().await;
    let (who, door) = (crate::support::principal("eye"), lab.another_door());
    let blame = async || -> Vec<String> {
        let snapshot = door.latest(&who, &Lab::id("t")).await.unwrap();
        let mut text = Vec::new();
        let mut out = |part: &[u8]| {
            text.extend_from_slice(part);
            Ok(())
        };
        door.blame(&who, &snapshot, &mut out).await.unwrap();
        let short = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            [&cells[..1], &cells[2..3], &cells[4..]].concat().join(",")
        };
        String::from_utf8(text).unwrap().lines().map(short).collect()
    };
    let expected =
        ["_version,_role,id,qty", "1,superadmin,1,5", "3,superadmin,2,60", "2,superadmin,3,7"];
    assert_eq!(blame().await, expected);
    let all = mountable::lake::CompactSettings::all();
    let done = door.compact(&who, &Lab::id("t"), &all).await.unwrap();
    assert_eq!(done.files_after, 1);
    assert_eq!(blame().await, expected, "a compaction writes no rows");
    lab.foreign_append("t", "9,9\n").await;
    let settings = mountable::lake::VacuumSettings::older_than(std::time::Duration::ZERO);
    let vacuumed = door.vacuum(&who, &Lab::id("t"), &settings, "").await.unwrap();
    assert_eq!((vacuumed.versions, vacuumed.first_kept), (5, 5));
    lab.foreign_append("t", "10,10\n").await;
    let kept = ["_version,_role,id,qty", ",,1,5", ",,2,60", ",,3,7", ",,9,9", "7,superadmin,10,10"];
    assert_eq!(blame().await, kept, "what is older than the history is nobody's");
}
