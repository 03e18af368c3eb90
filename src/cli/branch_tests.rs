//! Branches and merges on the command line.

use super::tests::mountable;

struct Lab {
    lake: String,
    _directory: tempfile::TempDir,
}

impl Lab {
    /// A lake with `acme/shop/items`: three rows, key `id`.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lab = Self {
            lake: directory.path().join("lake").display().to_string(),
            _directory: directory,
        };
        lab.ok(&["init"]);
        lab.load("acme/shop/items", "id,name,price\n1,pen,2\n2,ink,5\n3,cap,7\n", "--keys=id");
        lab
    }

    fn run(&self, arguments: &[&str]) -> (u8, String, String) {
        mountable(&self.lake, arguments)
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {err}");
        out
    }

    fn load(&self, table: &str, text: &str, option: &str) {
        let file = tempfile::NamedTempFile::with_suffix(".csv").unwrap();
        std::fs::write(file.path(), text).unwrap();
        self.ok(&["load", table, &file.path().display().to_string(), option]);
    }

    fn cat(&self, table: &str) -> String {
        self.ok(&["cat", table])
    }
}

#[test]
fn a_branch_is_made_changed_merged_and_dropped() {
    let lab = Lab::new();
    lab.ok(&["branch", "acme/shop", "dev", "-m", "new prices"]);
    let listed = lab.ok(&["branch", "acme/shop"]);
    assert!(listed.contains("dev") && listed.contains("new prices"), "{listed}");
    assert_eq!(lab.run(&["branch", "acme/shop", "dev"]).0, 4);
    let before = lab.cat("acme/shop/items");
    assert_eq!(lab.cat("acme/shop@dev/items"), before);
    lab.ok(&["update", "acme/shop@dev/items", "--set", "price = 3", "--where", "id = 1"]);
    lab.ok(&["delete", "acme/shop@dev/items", "--where", "id = 3"]);
    lab.ok(&["update", "acme/shop/items", "--set", "name = 'ink2'", "--where", "id = 2"]);
    assert_eq!(lab.cat("acme/shop/items"), "id,name,price\n1,pen,2\n2,ink2,5\n3,cap,7\n");
    let (code, _, err) = lab.run(&["branch", "acme/shop", "-d", "dev"]);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("items"), "{err}");
    let (code, out, err) = lab.run(&["merge", "acme/shop", "dev", "--dry-run"]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("items would be merged: 0 rows added, 1 changed, 1 removed"), "{err}");
    lab.ok(&["merge", "acme/shop", "dev"]);
    assert_eq!(lab.cat("acme/shop/items"), "id,name,price\n1,pen,3\n2,ink2,5\n");
    assert!(lab.run(&["merge", "acme/shop", "dev"]).2.contains("nothing to merge"));
    lab.ok(&["merge", "acme/shop", "main", "--into", "dev"]);
    assert_eq!(lab.cat("acme/shop@dev/items"), lab.cat("acme/shop/items"));
    assert!(lab.ok(&["log", "acme/shop/items"]).contains("branch dev"));
    lab.ok(&["fsck"]);
    lab.ok(&["branch", "acme/shop", "-d", "dev"]);
    assert_eq!(lab.run(&["cat", "acme/shop@dev/items"]).0, 3);
    assert_eq!(lab.run(&["ls", "acme/shop@dev"]).0, 3);
    lab.ok(&["fsck"]);
}

#[test]
fn conflicts_are_csv_and_change_nothing() {
    let lab = Lab::new();
    lab.ok(&["branch", "acme/shop", "dev"]);
    lab.ok(&["update", "acme/shop@dev/items", "--set", "price = 3", "--where", "id < 3"]);
    lab.ok(&["update", "acme/shop@dev/items", "--set", "name = 'a,b'", "--where", "id = 3"]);
    lab.ok(&["update", "acme/shop/items", "--set", "price = 4", "--where", "id = 1"]);
    lab.ok(&["update", "acme/shop/items", "--set", "name = 'c'", "--where", "id = 3"]);
    lab.ok(&["delete", "acme/shop/items", "--where", "id = 2"]);
    let before = lab.cat("acme/shop/items");
    for arguments in
        [&["merge", "acme/shop", "dev", "--dry-run"][..], &["merge", "acme/shop", "dev"]]
    {
        let (code, out, _) = lab.run(arguments);
        assert_eq!(code, 4);
        assert_eq!(
            out,
            "table,key,column,base,ours,theirs\nitems,1,price,2,4,3\n\
             items,2,,\"2,ink,5\",,\"2,ink,3\"\nitems,3,name,cap,c,\"a,b\"\n"
        );
        assert_eq!(lab.cat("acme/shop/items"), before);
    }
    lab.ok(&["branch", "acme/shop", "-d", "dev", "--force"]);
    assert_eq!(lab.ok(&["branch", "acme/shop", "--json"]).trim(), "[]");
}

#[test]
fn names_of_branches_stand_behind_the_supertable() {
    let lab = Lab::new();
    for wrong in ["main", "tx.a", "a@b", "../x", "A"] {
        assert_eq!(lab.run(&["branch", "acme/shop", wrong]).0, 2, "{wrong}");
    }
    assert_eq!(lab.run(&["branch", "acme/none", "dev"]).0, 3);
    assert_eq!(lab.run(&["branch", "acme/shop@dev", "x"]).0, 2);
    assert_eq!(lab.run(&["merge", "acme/shop", "dev"]).0, 3);
    assert_eq!(lab.run(&["merge", "acme/shop", "a", "--into", "b"]).0, 2);
    lab.ok(&["branch", "acme/shop", "dev"]);
    assert_eq!(lab.run(&["rename", "acme/shop@dev/items", "things"]).0, 2);
    assert_eq!(lab.run(&["drop", "acme/shop@dev", "--yes"]).0, 4);
    assert_eq!(lab.run(&["create", "acme/shop@new"]).0, 2);
    assert!(lab.ok(&["diff", "acme/shop/items", "acme/shop@dev/items"]).starts_with("_op,"));
    lab.ok(&["drop", "acme/shop/items", "--yes"]);
    assert_eq!(lab.run(&["drop", "acme/shop", "--yes"]).0, 4, "it has a branch");
    assert_eq!(lab.cat("acme/shop@dev/items").lines().count(), 4);
}
