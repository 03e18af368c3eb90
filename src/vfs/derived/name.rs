//! Names of what is made of tables: parts of them, other formats, views. Pure.

use super::super::namespace::Node;
use crate::lake::{ExportFormat, SimpleName, SuperId, TableId};

/// Something that is made of tables when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::vfs) enum Derived {
    /// `<super>/<table>.tsv` and its like.
    Format(TableId, Format),
    /// `<table>/.head/` and its like.
    Directory(TableId, PartKind),
    /// `<table>/.by/<column>/`.
    Column(TableId, String),
    /// `<table>/.head/10.csv` and its like.
    Part(TableId, Part),
    /// `<super>/.views/`.
    Views(SuperId),
    /// `<super>/.views/<name>.sql`.
    View(SuperId, SimpleName),
    /// `<super>/.views/<name>.csv`.
    Result(SuperId, SimpleName),
    /// `<super>/.views/<name>.error`.
    Failure(SuperId, SimpleName),
}

/// Formats in which a table stands beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::vfs) enum Format {
    Tsv,
    JsonLines,
    Parquet,
    SafeCsv,
}

impl Format {
    const ALL: [Self; 4] = [Self::Tsv, Self::JsonLines, Self::Parquet, Self::SafeCsv];

    /// What follows the table's name.
    fn suffix(self) -> &'static str {
        match self {
            Self::Tsv => ".tsv",
            Self::JsonLines => ".jsonl",
            Self::Parquet => ".parquet",
            Self::SafeCsv => ".safe.csv",
        }
    }

    /// The lake's word for it.
    pub(super) fn export(self) -> ExportFormat {
        match self {
            Self::Tsv => ExportFormat::Tsv,
            Self::JsonLines => ExportFormat::JsonLines,
            Self::Parquet => ExportFormat::Parquet,
            Self::SafeCsv => ExportFormat::SafeCsv,
        }
    }
}

/// Directories of parts of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::vfs) enum PartKind {
    Head,
    Tail,
    By,
    Columns,
}

impl PartKind {
    const ALL: [Self; 4] = [Self::Head, Self::Tail, Self::By, Self::Columns];

    fn name(self) -> &'static str {
        match self {
            Self::Head => ".head",
            Self::Tail => ".tail",
            Self::By => ".by",
            Self::Columns => ".cols",
        }
    }
}

/// A part of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::vfs) enum Part {
    /// The first rows.
    Head(u64),
    /// The last rows.
    Tail(u64),
    /// The rows whose column has a value, written as in a cell; nothing = NULL.
    By(String, String),
    /// Some columns, as in a header line.
    Columns(String),
}

/// A name in a SuperTable that stands for another format of a table.
pub(in crate::vfs) fn format_in(id: &SuperId, name: &str) -> Option<Derived> {
    Format::ALL.into_iter().find_map(|format| {
        let simple = SimpleName::new(name.strip_suffix(format.suffix())?).ok()?;
        Some(Derived::Format(id.table(simple), format))
    })
}

/// A name below a table.
pub(in crate::vfs) fn directory_in(table: &TableId, name: &str) -> Option<Derived> {
    let kind = PartKind::ALL.into_iter().find(|kind| kind.name() == name)?;
    Some(Derived::Directory(table.clone(), kind))
}

impl Derived {
    /// A name in one of these directories; whether there is such a thing is asked elsewhere.
    pub(in crate::vfs) fn child(&self, name: &str) -> Option<Self> {
        let rows = || name.strip_suffix(".csv")?.parse::<u64>().ok();
        Some(match self {
            Self::Directory(table, kind) => match kind {
                PartKind::Head => Self::Part(table.clone(), Part::Head(rows()?)),
                PartKind::Tail => Self::Part(table.clone(), Part::Tail(rows()?)),
                PartKind::By => Self::Column(table.clone(), unescaped(name)),
                PartKind::Columns => {
                    let columns = unescaped(name.strip_suffix(".csv")?);
                    Self::Part(table.clone(), Part::Columns(columns))
                }
            },
            Self::Column(table, column) => {
                let value = unescaped(name.strip_suffix(".csv")?);
                Self::Part(table.clone(), Part::By(column.clone(), value))
            }
            Self::Views(id) => {
                let (stem, kind) = name.rsplit_once('.')?;
                let simple = SimpleName::new(stem).ok()?;
                match kind {
                    "sql" => Self::View(id.clone(), simple),
                    "csv" => Self::Result(id.clone(), simple),
                    "error" => Self::Failure(id.clone(), simple),
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    pub(in crate::vfs) fn parent(&self) -> Node {
        match self {
            Self::Format(table, _) => Node::Super(table.super_id()),
            Self::Directory(table, _) => Node::About(table.clone()),
            Self::Column(table, _) => Node::Derived(Self::Directory(table.clone(), PartKind::By)),
            Self::Part(table, part) => Node::Derived(match part {
                Part::Head(_) => Self::Directory(table.clone(), PartKind::Head),
                Part::Tail(_) => Self::Directory(table.clone(), PartKind::Tail),
                Part::By(column, _) => Self::Column(table.clone(), column.clone()),
                Part::Columns(_) => Self::Directory(table.clone(), PartKind::Columns),
            }),
            Self::Views(id) => Node::Super(id.clone()),
            Self::View(id, _) | Self::Result(id, _) | Self::Failure(id, _) => {
                Node::Derived(Self::Views(id.clone()))
            }
        }
    }

    pub(in crate::vfs) fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(..) | Self::Column(..) | Self::Views(_))
    }

    /// Text that names it in the inode table.
    pub(in crate::vfs) fn to_text(&self) -> String {
        let one_line = |text: &str| text.replace('\\', "\\\\").replace('\n', "\\n");
        match self {
            Self::Format(id, format) => format!("format:{id}:{}", format.suffix()),
            Self::Directory(id, kind) => format!("parts:{id}:{}", kind.name()),
            Self::Column(id, column) => format!("by:{id}:{}", one_line(column)),
            Self::Part(id, part) => match part {
                Part::Head(rows) => format!("part:{id}:head:{rows}"),
                Part::Tail(rows) => format!("part:{id}:tail:{rows}"),
                Part::By(column, value) => {
                    let bytes = column.len();
                    format!("part:{id}:by:{bytes}:{}", one_line(&format!("{column}{value}")))
                }
                Part::Columns(columns) => format!("part:{id}:cols:{}", one_line(columns)),
            },
            Self::Views(id) => format!("views:{id}"),
            Self::View(id, name) => format!("view:{id}:{name}"),
            Self::Result(id, name) => format!("view-result:{id}:{name}"),
            Self::Failure(id, name) => format!("view-failure:{id}:{name}"),
        }
    }

    /// What such a text names.
    pub(in crate::vfs) fn from_text(kind: &str, rest: &str) -> Option<Self> {
        let pair = || rest.split_once(':');
        let table = || Some((TableId::parse(pair()?.0).ok()?, pair()?.1));
        let view = || Some((SuperId::parse(pair()?.0).ok()?, SimpleName::new(pair()?.1).ok()?));
        Some(match kind {
            "format" => {
                let (id, suffix) = table()?;
                Self::Format(id, Format::ALL.into_iter().find(|f| f.suffix() == suffix)?)
            }
            "parts" => {
                let (id, name) = table()?;
                directory_in(&id, name)?
            }
            "by" => {
                let (id, column) = table()?;
                Self::Column(id, many_lines(column))
            }
            "part" => {
                let (id, part) = table()?;
                let (kind, what) = part.split_once(':')?;
                Self::Part(
                    id,
                    match kind {
                        "head" => Part::Head(what.parse().ok()?),
                        "tail" => Part::Tail(what.parse().ok()?),
                        "by" => {
                            let (bytes, both) = what.split_once(':')?;
                            let both = many_lines(both);
                            let (column, value) = both.split_at_checked(bytes.parse().ok()?)?;
                            Part::By(column.to_owned(), value.to_owned())
                        }
                        "cols" => Part::Columns(many_lines(what)),
                        _ => return None,
                    },
                )
            }
            "views" => Self::Views(SuperId::parse(rest).ok()?),
            "view" => view().map(|(id, name)| Self::View(id, name))?,
            "view-result" => view().map(|(id, name)| Self::Result(id, name))?,
            "view-failure" => view().map(|(id, name)| Self::Failure(id, name))?,
            _ => return None,
        })
    }
}

/// `%2F` is `/`, which no name can hold, and `%25` is `%`; everything else is itself.
fn unescaped(name: &str) -> String {
    let parts = name.split("%25").map(|part| part.replace("%2F", "/").replace("%2f", "/"));
    parts.collect::<Vec<_>>().join("%")
}

fn many_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(if chars.next() == Some('n') { '\n' } else { '\\' }),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_from_its_text() {
        let table = TableId::parse("acme/shop/orders").expect("valid");
        let (id, view) = (table.super_id(), SimpleName::new("open").expect("valid"));
        let all = [
            Derived::Format(table.clone(), Format::SafeCsv),
            Derived::Directory(table.clone(), PartKind::By),
            Derived::Column(table.clone(), "a:b\\n\nc".to_owned()),
            Derived::Part(table.clone(), Part::Head(10)),
            Derived::Part(table.clone(), Part::Tail(0)),
            Derived::Part(table.clone(), Part::By("a:b".to_owned(), ":x\\\n".to_owned())),
            Derived::Part(table.clone(), Part::By("a".to_owned(), String::new())),
            Derived::Part(table, Part::Columns("a,b:c".to_owned())),
            Derived::Views(id.clone()),
            Derived::View(id.clone(), view.clone()),
            Derived::Result(id.clone(), view.clone()),
            Derived::Failure(id, view),
        ];
        for one in all {
            let text = one.to_text();
            let (kind, rest) = text.split_once(':').expect("a kind");
            assert!(!text.contains('\n'), "{text:?}");
            assert_eq!(Derived::from_text(kind, rest), Some(one), "{text:?}");
        }
    }

    #[test]
    fn names_are_read_and_strangers_are_none() {
        let table = TableId::parse("acme/shop/orders").expect("valid");
        let id = table.super_id();
        for name in ["orders.tsv", "orders.jsonl", "orders.parquet", "orders.safe.csv"] {
            assert!(format_in(&id, name).is_some(), "{name}");
        }
        for name in ["orders.csv", "orders.txt", ".orders.tsv", "Orders.tsv", "orders"] {
            assert_eq!(format_in(&id, name), None, "{name}");
        }
        let by = directory_in(&table, ".by").expect("a directory");
        let column = by.child("a%2Fb%252F").expect("a column");
        assert_eq!(column, Derived::Column(table.clone(), "a/b%2F".to_owned()));
        let nulls = Part::By("a/b%2F".to_owned(), String::new());
        assert_eq!(column.child(".csv"), Some(Derived::Part(table.clone(), nulls)));
        let head = directory_in(&table, ".head").expect("a directory");
        assert_eq!(head.child("10.csv"), Some(Derived::Part(table, Part::Head(10))));
        for name in ["x.csv", "10", "-1.csv", ".csv"] {
            assert_eq!(head.child(name), None, "{name}");
        }
        let views = Derived::Views(id);
        assert!(views.child("open.sql").is_some());
        for name in ["Open.sql", ".open.sql.swp", "open.sql~", "open"] {
            assert_eq!(views.child(name), None, "{name}");
        }
    }
}
