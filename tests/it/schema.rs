//! Edits of the header line.

use crate::support::Lab;

async fn saved(before: &str, after: &str) -> String {
    let lab = Lab::new().await;
    lab.table("t").rows(before).await;
    let a = lab.client("a");
    a.sed("t.csv", |_| after.to_owned()).await.unwrap();
    let engine = lab.engine_csv("t").await;
    assert_eq!(a.cat("t.csv").await, engine);
    assert_eq!(lab.client("b").cat("t.csv").await, engine);
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_dropped_renamed_and_moved() {
    let before = "id,qty,note\n1,5,a\n2,6,b\n";
    for after in [
        "id,qty,note,price\n1,5,a,1.5\n2,6,b,\n",
        "id,qty,note,price\n1,5,a,\n2,6,b,\n",
        "price,id,qty,note\n1.5,1,5,a\n2.5,2,6,b\n",
        "id,note\n1,a\n2,b\n",
        "note,id,qty\na,1,5\nb,2,6\n",
        "id,amount,note\n1,5,a\n2,6,b\n",
        "id,qty,note\n2,6,b\n",
        "id,note,extra\n1,a,x\n3,c,z\n",
    ] {
        assert_eq!(saved(before, after).await, after);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_header_is_refused() {
    let lab = Lab::new().await;
    lab.table("t").rows("id,qty\n1,5\n2,6\n").await;
    let a = lab.client("a");
    for lost in ["1,5\n2,6\n", "\n1,5\n2,6\n", "2,6\n"] {
        assert!(a.sed("t.csv", |_| lost.to_owned()).await.is_err(), "{lost:?}");
    }
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_edit_in_place_is_one_save() {
    let lab = Lab::new().await;
    lab.table("t").rows("id,qty\n1,5\n2,6\n").await;
    let a = lab.client("a");
    a.overwrite("t.csv", "id,qty,note\n1,5,x\n2,6,\n").await.unwrap();
    lab.settles("t", "id,qty,note\n1,5,x\n2,6,\n").await;
    a.append_warm("t.csv", "3,7,z\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty,note\n1,5,x\n2,6,\n3,7,z\n");
}
