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
