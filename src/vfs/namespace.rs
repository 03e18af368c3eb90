//! The path grammar: which names exist in which directory of the mounted tree (semantics
//! section 1). Pure; whether a lake object exists is asked elsewhere.

use super::derived::Derived;
use crate::lake::{BranchName, OrgName, SimpleName, SuperId, SuperName, TableId};

/// Longest file name, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// What an inode stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// The lake's root directory.
    Root,
    /// `README.txt` at the root.
    Readme,
    /// `.control` at the root.
    Control,
    /// `.mountable/` at the root.
    Gateway,
    /// A file of `.mountable/`.
    GatewayFile(GatewayFile),
    /// An organization.
    Org(OrgName),
    /// A SuperTable.
    Super(SuperId),
    /// `<table>.csv`.
    Table(TableId),
    /// `<table>/`.
    About(TableId),
    /// A file of `<table>/`.
    AboutFile(TableId, AboutFile),
    /// `<table>/rejected/`.
    Rejected(TableId),
    /// `<table>/rejected/<attempt>.csv`.
    RejectedFile(TableId, String),
    /// `<table>/.at/`.
    At(TableId),
    /// `<table>/.at/<version>/`; a time resolves to its version.
    AtVersion(TableId, u64),
    /// `<table>/.at/<version>/<table>.csv`.
    AtFile(TableId, u64),
    /// `<table>/.diff/`.
    Diff(TableId),
    /// `<table>/.diff/<a>..<b>.csv`: what changed from one version to another.
    DiffFile(TableId, u64, u64),
    /// `<super>/.trash/`.
    Trash(SuperId),
    /// `<super>/.trash/<name>.csv`.
    TrashFile(SuperId, String),
    /// `<super>/.branches/`; in it a branch is a [`Node::Super`].
    Branches(SuperId),
    /// `<super>/.tx/`; in it a transaction is a [`Node::Super`].
    Transactions(SuperId),
    /// A file of a transaction that does or tells something.
    TxFile(SuperId, TxFile),
    /// `<transaction>/.diff/`.
    TxDiff(SuperId),
    /// `<transaction>/.diff/<table>.csv`: what the transaction changed.
    TxDiffFile(TableId),
    /// `<super>/errors.csv`: refusals that belong to no table.
    SuperErrors(SuperId),
    /// What is made of tables when it is asked for.
    Derived(Derived),
    /// A scratch file, directory or link.
    Scratch(u64),
}

/// Files of `.mountable/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum GatewayFile {
    /// Version of the program.
    Version,
    /// State of storage and catalogue.
    Health,
    /// Counters.
    Stats,
}

impl GatewayFile {
    /// All, in listing order.
    pub(super) const ALL: [Self; 3] = [Self::Health, Self::Stats, Self::Version];

    /// File name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Health => "health.json",
            Self::Stats => "stats.json",
        }
    }
}

/// Files of `<table>/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum AboutFile {
    /// What the files beside it are.
    Readme,
    /// Columns and types.
    Schema,
    /// Rows, bytes, files.
    Stats,
    /// Data files.
    Files,
    /// Keys and rules; writable.
    Config,
    /// One line a snapshot.
    History,
    /// What each version changed, for `tail -f`; not listed, because it repeats data.
    Changes,
    /// One line a refused row.
    Errors,
    /// The last refusal in prose.
    LastError,
}

impl AboutFile {
    /// All, those that are listed in listing order.
    pub(super) const ALL: [Self; 9] = [
        Self::Readme,
        Self::Changes,
        Self::Config,
        Self::Errors,
        Self::Files,
        Self::History,
        Self::LastError,
        Self::Schema,
        Self::Stats,
    ];

    /// File name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Readme => "README.txt",
            Self::Schema => "schema.json",
            Self::Stats => "stats.json",
            Self::Files => "files.csv",
            Self::Config => "config.toml",
            Self::History => "history.csv",
            Self::Changes => "changes.csv",
            Self::Errors => "errors.csv",
            Self::LastError => "last-error.txt",
        }
    }
}

/// Files of a transaction beside its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TxFile {
    /// Finds out whether it could be committed.
    Test,
    /// Commits it.
    Commit,
    /// Throws it away.
    Abort,
    /// What a commit would do.
    Log,
}

impl TxFile {
    /// All, in no order that anybody sees but the last: only the log is listed.
    pub(super) const ALL: [Self; 4] = [Self::Test, Self::Commit, Self::Abort, Self::Log];

    /// File name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Test => ".test",
            Self::Commit => ".commit",
            Self::Abort => ".abort",
            Self::Log => "test.log",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }
}

/// What a name in the directory of a transaction is, beside what it is in that of a SuperTable.
pub(super) fn transaction_child(id: &SuperId, name: &str) -> Option<Node> {
    id.branch()?.as_transaction()?;
    match name {
        ".diff" => Some(Node::TxDiff(id.clone())),
        name => TxFile::named(name).map(|file| Node::TxFile(id.clone(), file)),
    }
}

/// What a name in a SuperTable directory can be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SuperChild {
    /// `<table>.csv`.
    Table(SimpleName),
    /// `<table>/`, if the table exists.
    About(SimpleName),
    /// `.trash`.
    Trash,
    /// `.branches`.
    Branches,
    /// `.tx`.
    Transactions,
    /// Only scratch files have such names.
    Scratch,
    /// Looks like a table but cannot be one: refused rather than kept as scratch, because a user
    /// would take it for a table.
    NotAllowed,
}

/// Reads a name in a SuperTable directory.
pub(super) fn super_child(name: &[u8]) -> SuperChild {
    let Ok(text) = std::str::from_utf8(name) else { return SuperChild::Scratch };
    if text == ".trash" {
        return SuperChild::Trash;
    }
    if text == ".branches" {
        return SuperChild::Branches;
    }
    if text == ".tx" {
        return SuperChild::Transactions;
    }
    if let Some(stem) = text.strip_suffix(".csv") {
        return match SimpleName::new(stem) {
            Ok(simple) => SuperChild::Table(simple),
            Err(_) if text.starts_with(['.', '#', '~', '_']) => SuperChild::Scratch,
            Err(_) => SuperChild::NotAllowed,
        };
    }
    match SimpleName::new(text) {
        Ok(simple) => SuperChild::About(simple),
        Err(_) => SuperChild::Scratch,
    }
}

/// Whether a scratch name is one that clients make when an open file is removed.
pub(super) fn is_silly_rename(name: &[u8]) -> bool {
    name.starts_with(b".nfs") || name.starts_with(b".fuse_hidden")
}

impl Node {
    /// Text that names the node in the inode table.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Root => "/".to_owned(),
            Self::Readme => "readme:".to_owned(),
            Self::Control => "control:".to_owned(),
            Self::Gateway => "gateway:".to_owned(),
            Self::GatewayFile(file) => format!("gateway-file:{}", file.name()),
            Self::Org(org) => format!("org:{org}"),
            Self::Super(id) => format!("super:{id}"),
            Self::Table(id) => format!("table:{id}"),
            Self::About(id) => format!("about:{id}"),
            Self::AboutFile(id, file) => format!("about-file:{id}:{}", file.name()),
            Self::Rejected(id) => format!("rejected:{id}"),
            Self::RejectedFile(id, attempt) => format!("rejected-file:{id}:{attempt}"),
            Self::At(id) => format!("at:{id}"),
            Self::AtVersion(id, version) => format!("at-version:{id}:{version}"),
            Self::AtFile(id, version) => format!("at-file:{id}:{version}"),
            Self::Diff(id) => format!("diff:{id}"),
            Self::DiffFile(id, old, new) => format!("diff-file:{id}:{old}..{new}"),
            Self::Trash(id) => format!("trash:{id}"),
            Self::TrashFile(id, name) => format!("trash-file:{id}:{name}"),
            Self::Branches(id) => format!("branches:{id}"),
            Self::Transactions(id) => format!("transactions:{id}"),
            Self::TxFile(id, file) => format!("tx-file:{id}:{}", file.name()),
            Self::TxDiff(id) => format!("tx-diff:{id}"),
            Self::TxDiffFile(table) => format!("tx-diff-file:{table}"),
            Self::SuperErrors(id) => format!("super-errors:{id}"),
            Self::Derived(derived) => derived.to_text(),
            Self::Scratch(id) => format!("scratch:{id}"),
        }
    }

    /// The node of such a text; `None` if it is none.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        if text == "/" {
            return Some(Self::Root);
        }
        let (kind, rest) = text.split_once(':')?;
        let table = || TableId::parse(rest).ok();
        let pair = || rest.split_once(':').and_then(|(id, x)| Some((TableId::parse(id).ok()?, x)));
        Some(match kind {
            "readme" => Self::Readme,
            "control" => Self::Control,
            "gateway" => Self::Gateway,
            "gateway-file" => {
                Self::GatewayFile(GatewayFile::ALL.into_iter().find(|f| f.name() == rest)?)
            }
            "org" => Self::Org(OrgName::new(rest).ok()?),
            "super" => Self::Super(SuperId::parse(rest).ok()?),
            "table" => Self::Table(table()?),
            "about" => Self::About(table()?),
            "about-file" => {
                let (id, name) = pair()?;
                Self::AboutFile(id, AboutFile::ALL.into_iter().find(|f| f.name() == name)?)
            }
            "rejected" => Self::Rejected(table()?),
            "rejected-file" => {
                let (id, attempt) = pair()?;
                Self::RejectedFile(id, attempt.to_owned())
            }
            "at" => Self::At(table()?),
            "at-version" => {
                let (id, version) = pair()?;
                Self::AtVersion(id, version.parse().ok()?)
            }
            "at-file" => {
                let (id, version) = pair()?;
                Self::AtFile(id, version.parse().ok()?)
            }
            "diff" => Self::Diff(table()?),
            "diff-file" => {
                let (id, versions) = pair()?;
                let (old, new) = versions.split_once("..")?;
                Self::DiffFile(id, old.parse().ok()?, new.parse().ok()?)
            }
            "trash" => Self::Trash(SuperId::parse(rest).ok()?),
            "trash-file" => {
                let (id, name) = rest.split_once(':')?;
                Self::TrashFile(SuperId::parse(id).ok()?, name.to_owned())
            }
            "branches" => Self::Branches(SuperId::parse(rest).ok()?),
            "transactions" => Self::Transactions(SuperId::parse(rest).ok()?),
            "tx-file" => {
                let (id, name) = rest.split_once(':')?;
                Self::TxFile(SuperId::parse(id).ok()?, TxFile::named(name)?)
            }
            "tx-diff" => Self::TxDiff(SuperId::parse(rest).ok()?),
            "tx-diff-file" => Self::TxDiffFile(table()?),
            "super-errors" => Self::SuperErrors(SuperId::parse(rest).ok()?),
            "scratch" => Self::Scratch(rest.parse().ok()?),
            kind => Self::Derived(Derived::from_text(kind, rest)?),
        })
    }

    /// The directory that holds this node; `None` for scratch, whose directory is kept with it.
    pub(super) fn parent(&self) -> Option<Self> {
        Some(match self {
            Self::Root | Self::Readme | Self::Control | Self::Gateway | Self::Org(_) => Self::Root,
            Self::GatewayFile(_) => Self::Gateway,
            Self::Super(id) => match id.branch() {
                Some(branch) if branch.as_transaction().is_some() => Self::Transactions(id.main()),
                Some(_) => Self::Branches(id.main()),
                None => Self::Org(id.organization.clone()),
            },
            Self::Table(id) | Self::About(id) => Self::Super(id.super_id()),
            Self::AboutFile(id, _) | Self::Rejected(id) | Self::At(id) | Self::Diff(id) => {
                Self::About(id.clone())
            }
            Self::DiffFile(id, ..) => Self::Diff(id.clone()),
            Self::RejectedFile(id, _) => Self::Rejected(id.clone()),
            Self::AtVersion(id, _) => Self::At(id.clone()),
            Self::AtFile(id, version) => Self::AtVersion(id.clone(), *version),
            Self::Trash(id)
            | Self::Branches(id)
            | Self::Transactions(id)
            | Self::TxFile(id, _)
            | Self::TxDiff(id)
            | Self::SuperErrors(id) => Self::Super(id.clone()),
            Self::TxDiffFile(table) => Self::TxDiff(table.super_id()),
            Self::TrashFile(id, _) => Self::Trash(id.clone()),
            Self::Derived(derived) => derived.parent(),
            Self::Scratch(_) => return None,
        })
    }

    /// Whether it is a directory; `None` for scratch, which is asked elsewhere.
    pub(super) fn is_directory(&self) -> Option<bool> {
        match self {
            Self::Scratch(_) => None,
            Self::Derived(derived) => Some(derived.is_directory()),
            Self::Root
            | Self::Gateway
            | Self::Org(_)
            | Self::Super(_)
            | Self::About(_)
            | Self::Rejected(_)
            | Self::At(_)
            | Self::AtVersion(..)
            | Self::Diff(_)
            | Self::Branches(_)
            | Self::Transactions(_)
            | Self::TxDiff(_)
            | Self::Trash(_) => Some(true),
            _ => Some(false),
        }
    }
}

/// Reads a directory name as a branch of a SuperTable.
pub(super) fn branch_of(main: &SuperId, name: &[u8]) -> Option<SuperId> {
    let branch = BranchName::new(std::str::from_utf8(name).ok()?).ok()?;
    if branch.as_transaction().is_some() {
        return None;
    }
    main.on_branch(&branch).ok()
}

/// Reads a directory name as a SuperTable of `organization`.
pub(super) fn super_of(organization: &OrgName, name: &[u8]) -> Option<SuperId> {
    let super_name = SuperName::new(std::str::from_utf8(name).ok()?).ok()?;
    Some(SuperId { organization: organization.clone(), super_name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_supertable_are_told_apart() {
        let simple = |name| SimpleName::new(name).expect("valid");
        assert_eq!(super_child(b"orders.csv"), SuperChild::Table(simple("orders")));
        assert_eq!(super_child(b"orders"), SuperChild::About(simple("orders")));
        assert_eq!(super_child(b".trash"), SuperChild::Trash);
        assert_eq!(super_child(b".branches"), SuperChild::Branches);
        for scratch in [
            &b"sedAbC123"[..],
            b".orders.csv.swp",
            b"4913",
            b"orders.csv~",
            b"#orders.csv#",
            b".#orders.csv",
            b".~lock.orders.csv#",
            b"._orders.csv",
            b".DS_Store",
            b".nfs0001",
            b".orders.csv.AbC123",
            b"\xff\xfe.csv",
        ] {
            assert_eq!(super_child(scratch), SuperChild::Scratch, "{scratch:?}");
        }
        for refused in [&b"My Orders.csv"[..], b"2024.csv", b"Orders.csv", b"my-orders.csv"] {
            assert_eq!(super_child(refused), SuperChild::NotAllowed, "{refused:?}");
        }
    }

    #[test]
    fn every_node_reads_back_from_its_text() {
        let table = TableId::parse("acme/shop/orders").expect("valid");
        let nodes = [
            Node::Root,
            Node::Readme,
            Node::Control,
            Node::Gateway,
            Node::GatewayFile(GatewayFile::Health),
            Node::Org(table.organization.clone()),
            Node::Super(table.super_id()),
            Node::Table(table.clone()),
            Node::About(table.clone()),
            Node::AboutFile(table.clone(), AboutFile::Config),
            Node::Rejected(table.clone()),
            Node::RejectedFile(table.clone(), "x:1".to_owned()),
            Node::At(table.clone()),
            Node::Diff(table.clone()),
            Node::DiffFile(table.clone(), 3, 17),
            Node::AtVersion(table.clone(), 7),
            Node::AtFile(table.clone(), 7),
            Node::Trash(table.super_id()),
            Node::TrashFile(table.super_id(), "orders.20261121".to_owned()),
            Node::SuperErrors(table.super_id()),
            Node::Branches(table.super_id()),
            Node::Transactions(table.super_id()),
            Node::TxFile(SuperId::parse("acme/shop@tx.a").expect("valid"), TxFile::Commit),
            Node::TxDiff(SuperId::parse("acme/shop@tx.a").expect("valid")),
            Node::TxDiffFile(TableId::parse("acme/shop@tx.a/orders").expect("valid")),
            Node::Super(SuperId::parse("acme/shop@dev").expect("valid")),
            Node::Table(TableId::parse("acme/shop@dev/orders").expect("valid")),
            Node::Scratch(12),
        ];
        for node in nodes {
            assert_eq!(Node::from_text(&node.to_text()), Some(node));
        }
        assert_eq!(Node::from_text("table:../x/y"), None);
    }
}
