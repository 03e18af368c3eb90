//! What lies below a folder of a store, and what unfinished writes left in a local one.

use std::path::Path as FilePath;
use std::time::UNIX_EPOCH;

use super::{Address, Objects, error_of, object_path};
use crate::error::{Error, Result};

/// A file that an unfinished write left (`<name>#<digits>`); listings hide it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its path below the lake.
    pub path: String,
    /// The folder that holds it.
    pub folder: String,
    /// Size in bytes.
    pub bytes: u64,
    /// When it was last written, milliseconds since 1970.
    pub written_ms: i64,
}

/// Names of the folders directly below a folder (`""` = the whole store), sorted.
///
/// # Errors
/// `Unavailable`, `Denied` or `Invalid`.
pub async fn folders(objects: &Objects, folder: &str) -> Result<Vec<String>> {
    let prefix = if folder.is_empty() { None } else { Some(object_path(folder)?) };
    let listed = objects
        .list_with_delimiter(prefix.as_ref())
        .await
        .map_err(|error| error_of(error, "list folders", folder))?;
    let mut names: Vec<String> = listed
        .common_prefixes
        .iter()
        .filter_map(|path| path.filename().map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

/// Files that unfinished writes left below `folder` of the store at `url`; other stores than a
/// directory have none.
///
/// # Errors
/// `Denied` or `Unavailable` if the directory cannot be read.
pub fn leftovers(url: &str, folder: &str) -> Result<Vec<Leftover>> {
    let Ok(Address::Local(root)) = Address::parse(url) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    collect(&root, &root.join(folder), &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn collect(root: &FilePath, folder: &FilePath, found: &mut Vec<Leftover>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::from(error).with("folder", folder.display())),
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        // Links are not followed: they would lead out of the lake or in circles.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            collect(root, &path, found)?;
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_temporary(&name) {
            continue;
        }
        let below = |path: &FilePath| {
            path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
        };
        let written = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let written_ms = written.and_then(|since| i64::try_from(since.as_millis()).ok());
        found.push(Leftover {
            folder: path.parent().map(below).unwrap_or_default(),
            path: below(&path),
            bytes: metadata.len(),
            written_ms: written_ms.unwrap_or_default(),
        });
    }
    Ok(())
}

/// Whether a name is one that `LocalStore` gives to files that nobody may see yet.
fn is_temporary(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(stem, digits)| {
        !stem.is_empty() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    })
}
