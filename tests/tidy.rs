//! Rules of the code base that the compiler does not check: who may use whom, where keys and
//! paths are spelled, how files begin and how long they are.

#![allow(clippy::expect_used, reason = "a rule that cannot be checked is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the bottom; a module may use modules of lower layers, and of its own only where
/// listed in [`SAME_LAYER`].
const LAYERS: [&[&str]; 8] = [
    &["error", "ident", "clock", "config", "telemetry"],
    &["csv", "store", "catalog"],
    &["table"],
    &["view", "access", "audit"],
    &["ingest", "filter", "sql", "mirror"],
    &["lake"],
    &["vfs"],
    &["nfs", "fuse", "cli"],
];

/// Arrows within one layer: layer 0 in its order, the audit trail names principals, `cli` starts
/// the services.
const SAME_LAYER: [(&str, &str); 11] = [
    ("ident", "error"),
    ("clock", "error"),
    ("config", "error"),
    ("config", "ident"),
    ("config", "clock"),
    ("telemetry", "error"),
    ("telemetry", "config"),
    ("telemetry", "clock"),
    ("audit", "access"),
    ("cli", "nfs"),
    ("cli", "fuse"),
];

/// Modules that `vfs` and the adapters may use: everything else is behind the door (`lake`).
const ABOVE_THE_DOOR: [(&str, &[&str]); 4] = [
    ("vfs", &["csv", "view", "lake"]),
    ("nfs", &["vfs"]),
    ("fuse", &["vfs"]),
    ("cli", &["vfs", "lake", "nfs", "fuse", "ingest", "view", "csv"]),
];

/// Crates that only some modules may name.
const CRATES: [(&str, &[&str]); 6] = [
    ("nfs3_types", &["nfs"]),
    ("fuser", &["fuse"]),
    ("redis", &["catalog"]),
    ("rusqlite", &["catalog"]),
    ("clap", &["cli"]),
    ("datafusion", &["sql"]),
];

/// Longest file, in lines without its tests.
const FILE_LINES_MAX: usize = 600;
/// Longest line, in characters.
const LINE_CHARS_MAX: usize = 100;

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("list a source directory") {
        let path = entry.expect("read a directory entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let inner = path.strip_prefix(&src).expect("below src");
            let first = inner.iter().next().expect("a component").to_string_lossy();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).expect("read a source file");
            Source { path, module, text }
        })
        .collect()
}

/// The part of a file before its test module, without line comments.
fn code(source: &Source) -> String {
    let text = source.text.split("\n#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test_file(source: &Source) -> bool {
    let name = source.path.file_stem().unwrap_or_default().to_string_lossy();
    name == "tests"
        || name.ends_with("_tests")
        || source.path.iter().any(|component| component == "tests")
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn used_modules(text: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let inner = group.split('}').next().unwrap_or_default();
            used.extend(
                inner
                    .split(',')
                    .map(|item| item.trim().split("::").next().unwrap_or_default().to_owned()),
            );
        } else {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            used.push(rest[..end].to_owned());
        }
    }
    used.retain(|module| layer_of(module).is_some());
    used.sort();
    used.dedup();
    used
}

fn allowed(from: &str, to: &str) -> bool {
    if from == to || SAME_LAYER.contains(&(from, to)) {
        return true;
    }
    let (Some(above), Some(below)) = (layer_of(from), layer_of(to)) else { return false };
    if below >= above {
        return false;
    }
    match ABOVE_THE_DOOR.iter().find(|(module, _)| *module == from) {
        Some((_, only)) => below == 0 || only.contains(&to),
        None => true,
    }
}

#[track_caller]
fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !is_test_file(source)) {
        if matches!(source.module.as_str(), "lib" | "main") {
            continue;
        }
        assert!(layer_of(&source.module).is_some(), "{} has no layer", source.path.display());
        for used in used_modules(&code(source)) {
            if !allowed(&source.module, &used) {
                found.push(format!("{}: {} -> {used}", source.path.display(), source.module));
            }
        }
    }
    none(found, "a module uses one that does not lie below it (docs/ARCHITECTURE.md)");
}

#[test]
fn crates_of_one_protocol_are_named_in_one_module() {
    let mut found = Vec::new();
    for source in sources() {
        let text = code(&source);
        for (name, modules) in CRATES {
            let named =
                text.contains(&format!("{name}::")) || text.contains(&format!("use {name}"));
            let own =
                text.contains(&format!("::{name}::")) || text.contains(&format!("mod {name}"));
            if named && !own && !modules.contains(&source.module.as_str()) {
                found.push(format!("{}: {name}", source.path.display()));
            }
        }
    }
    none(found, "a crate is named outside its module");
}

#[test]
fn keys_and_object_paths_are_spelled_in_one_place() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !is_test_file(source)) {
        let inner = source.path.strip_prefix(root()).expect("below the root");
        let text = code(source);
        let keys = text.contains("\"supertable:") || text.contains("rowid_seq");
        if keys && inner != Path::new("src/catalog/keys.rs") {
            found.push(format!("{}: a catalogue key", inner.display()));
        }
        let paths = text.contains("_tables.json") || text.contains("_data.parquet");
        if paths && inner != Path::new("src/store/layout.rs") {
            found.push(format!("{}: an object path", inner.display()));
        }
    }
    none(found, "spell keys in catalog/keys.rs and object paths in store/layout.rs");
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    let mut found = Vec::new();
    for source in sources() {
        let name = source.path.display();
        if !source.text.starts_with("//!") {
            found.push(format!("{name}: does not begin with //!"));
        }
        let tests = is_test_file(&source);
        let lines = source.text.split("\n#[cfg(test)]").next().unwrap_or_default().lines().count();
        if !tests && lines > FILE_LINES_MAX {
            found.push(format!("{name}: {lines} lines"));
        }
        for (index, line) in source.text.lines().enumerate() {
            // The data of tests stands as it is.
            let free = tests || index >= lines || line.trim_start().starts_with("//!");
            if line.chars().count() > LINE_CHARS_MAX && !free {
                found.push(format!("{name}:{}: longer than {LINE_CHARS_MAX}", index + 1));
            }
            if !line.is_ascii() {
                found.push(format!("{name}:{}: not ASCII", index + 1));
            }
        }
    }
    none(found, "a file breaks the form");
}

#[test]
fn nothing_unfinished_is_left() {
    let marks = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")];
    let mut found = Vec::new();
    for source in sources() {
        for mark in marks {
            if source.text.contains(mark) {
                found.push(format!("{}: {mark}", source.path.display()));
            }
        }
        if source.text.contains(concat!("#[", "ignore")) {
            found.push(format!("{}: an ignored test", source.path.display()));
        }
    }
    none(found, "unfinished work");
}

#[test]
fn every_dependency_is_explained() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("read the manifest");
    let docs = fs::read_to_string(root().join("docs/dependencies.md")).expect("read the list");
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = matches!(line, "[dependencies]" | "[dev-dependencies]");
        } else if let (true, Some((name, _))) = (inside, line.split_once(" = "))
            && !docs.contains(&format!("`{name}`"))
        {
            found.push(name.to_owned());
        }
    }
    none(found, "a dependency without a line in docs/dependencies.md");
}

#[test]
fn semantics_names_only_tests_that_exist() {
    let docs = fs::read_to_string(root().join("docs/SEMANTICS.md")).expect("read the semantics");
    let mut all = String::new();
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    collect(&root().join("tests"), &mut files);
    for path in files {
        all.push_str(&fs::read_to_string(path).expect("read a source file"));
    }
    for entry in fs::read_dir(root().join("integration/suite")).expect("list the suite") {
        let path = entry.expect("read a directory entry").path();
        if path.extension().is_some_and(|extension| extension == "py") {
            all.push_str(&fs::read_to_string(path).expect("read a case file"));
        }
    }
    let mut named = 0;
    let mut found = Vec::new();
    for part in docs.split("[test: ").skip(1) {
        for name in part.split(']').next().unwrap_or_default().split(',') {
            named += 1;
            // A case of the suite may be named with its group, as `integration/run --list` does.
            let whole = name.trim();
            let name = whole.rsplit('.').next().unwrap_or_default();
            let spellings = [
                format!("fn {name}("),
                format!("def {name}("),
                format!("Tool(\"{name}\""),
                format!("\n    \"{name}\": "),
            ];
            if !spellings.iter().any(|spelling| all.contains(spelling)) {
                found.push(whole.to_owned());
            }
        }
    }
    assert!(named > 20, "SEMANTICS.md names only {named} tests");
    none(found, "SEMANTICS.md names a test that does not exist");
}
