//! Large texts that spell their rows in another way than the table: what only differs in spelling
//! is no change, wherever it stands and however much of it there is.

use crate::support::Lab;

/// More than two chunks of text.
const ROWS: usize = 60_000;

fn row(id: usize, qty: usize) -> String {
    format!("{id},the name of the customer {id:06},{qty}")
}

fn text(rows: impl Iterator<Item = String>) -> String {
    let rows: String = rows.map(|row| row + "\n").collect();
    format!("id,name,qty\n{rows}")
}

async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.table("t").key("id").rows(&text((0..ROWS).map(|id| row(id, 1)))).await;
    lab
}

/// Added, updated and removed rows of the newest version.
async fn counts(lab: &Lab) -> Vec<String> {
    let history = lab.client("new").at("acme/shop/t").cat("history.csv").await;
    let last = history.lines().last().unwrap().to_owned();
    last.split(',').skip(4).take(3).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_text_in_another_spelling_is_no_change() {
    let lab = lab().await;
    let before = lab.versions("t").await;
    let old = lab.engine_csv("t").await;
    let a = lab.client("a");
    a.sed("t.csv", |text| text.replace('\n', "\r\n")).await.unwrap();
    assert_eq!(lab.versions("t").await, before);
    assert!(lab.engine_csv("t").await == old);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_a_large_text_of_another_spelling_are_found_row_by_row() {
    let lab = lab().await;
    // The first half is changed and spelled as the table spells it, so that its rows are written
    // before the other spelling begins.
    let half = ROWS / 2;
    let spelled = |id: usize, qty: usize| match id < half {
        true => row(id, qty + 1),
        false => row(id, qty) + "\r",
    };
    let changed = |spell: &dyn Fn(usize, usize) -> String| -> Vec<String> {
        let mut rows: Vec<String> = (0..ROWS).map(|id| spell(id, 1)).collect();
        rows[half + 100] = spell(half + 100, 7);
        rows.remove(ROWS - 10);
        rows.insert(half + 500, spell(ROWS + 5, 3));
        rows
    };
    let a = lab.client("a");
    let new = text(changed(&spelled).into_iter());
    a.sed("t.csv", |_| new.clone()).await.unwrap();
    let canonical = text(changed(&spelled).into_iter()).replace('\r', "");
    assert!(lab.engine_csv("t").await == canonical, "another text than the saved one");
    assert_eq!(counts(&lab).await, ["1", &(half + 1).to_string(), "1"]);
    // Its author goes on reading what was written.
    assert!(a.cat("t.csv").await == new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_a_large_text_of_another_spelling_names_the_line() {
    let lab = lab().await;
    let a = lab.client("a");
    let about = lab.client("new").at("acme/shop/t");
    let at = ROWS - 1_000;
    let crlf = |change: &str| {
        let rows = (0..ROWS).map(|id| if id == at { change.to_owned() } else { row(id, 1) });
        text(rows).replace('\n', "\r\n")
    };
    let old = lab.engine_csv("t").await;
    for (change, words) in [
        (format!("{at},x,many"), ["MNT-1203", "many"]),
        // The key of a row that stays, which is found when everything is compared.
        ("5,somebody,1".to_owned(), ["MNT-1311", "line 7"]),
    ] {
        assert!(a.sed("t.csv", |_| crlf(&change)).await.is_err(), "{change}");
        assert!(lab.engine_csv("t").await == old, "refused and changed");
        let told = about.cat("last-error.txt").await;
        for word in words.into_iter().chain([format!("line {}", at + 2).as_str()]) {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
}
