//! Deleting rows by rewriting their files, for generations that have no row ids in them.
//!
//! A commit plans with dead rows as always. Before its document is made, the files that hold some
//! are rewritten without them; the ids of the rows that stay go along in the new files' footers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::table::Table;
use crate::table::commit::NextDocument;
use crate::table::layout::{self, Layout};
use crate::table::snapshot::{DataFile, Deletes, Snapshot};

/// A snapshot's files and order after the dead rows are gone.
#[derive(Debug)]
pub(crate) struct Physical {
    pub(crate) files: Vec<DataFile>,
    pub(crate) layout: Arc<Layout>,
}

impl Table {
    /// Rewrites the files that hold rows which `layout` does not show.
    ///
    /// # Errors
    /// `Unsupported` if a file holds values that a rewrite would change; those of reading and
    /// writing data files.
    pub(crate) async fn physical(
        &self,
        previous: &Snapshot,
        new: &NextDocument<'_>,
        layout: &Arc<Layout>,
    ) -> Result<Physical> {
        let chosen = partly_shown(new.files, layout)?;
        let mut draft = Snapshot::clone(previous);
        draft.files = new.files.into();
        draft.schema = Arc::clone(new.schema);
        let (mut files, mut placed) = (new.files.to_vec(), Layout::clone(layout));
        if !chosen.is_empty() {
            if self.rewritable(&draft, chosen.clone()).await?.len() < chosen.len() {
                return Err(Error::unsupported(
                    "rows can only be deleted by rewriting their file, which would change values \
                     of a type that is not known here",
                )
                .with("table", &self.id));
            }
            let rewritten = self.rewrite_files(&draft, layout, &chosen).await?;
            let replaced = self.in_place_of(&draft, layout, &chosen, &rewritten).await?;
            let Some(replaced) = replaced.filter(|replaced| replaced.dead.is_empty()) else {
                return Err(Error::internal("rewritten files do not hold the rows that are shown"));
            };
            (files, placed) = (replaced.files, replaced.layout);
        }
        let shown: HashSet<&str> = placed.files.iter().map(AsRef::as_ref).collect();
        files.retain(|file| shown.contains(file.path.as_ref()));
        placed.digest = layout::digest(&files, &Deletes::None);
        Ok(Physical { files, layout: Arc::new(placed) })
    }
}

/// Files some of whose rows a layout does not show.
fn partly_shown(files: &[DataFile], layout: &Layout) -> Result<HashSet<Arc<str>>> {
    let mut shown: HashMap<&str, u64> = HashMap::new();
    for piece in &layout.pieces {
        *shown.entry(layout.path(piece.file)?.as_ref()).or_default() += u64::from(piece.rows);
    }
    let partly = files
        .iter()
        .filter(|file| shown.get(file.path.as_ref()).is_some_and(|shown| *shown < file.rows));
    Ok(partly.map(|file| Arc::clone(&file.path)).collect())
}
