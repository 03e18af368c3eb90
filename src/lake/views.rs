//! Views: queries that are kept with a SuperTable, in its catalogue, for all gateways.
//!
//! All views of a SuperTable are one document, replaced as a whole if nobody else has replaced it
//! meanwhile; a text is a few lines, and there are not many of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Lake, Principal, SimpleName, SuperId};
use crate::access::Permission;
use crate::catalog::{DocKey, Expected};
use crate::clock::now_ms;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::QUERY_BYTES_MAX;

/// Views of a SuperTable.
const VIEWS_MAX: usize = 1_000;
/// How often a change begins again because somebody else changed another view.
const ROUNDS_MAX: usize = 20;

/// A query that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its text, as it was saved.
    pub text: String,
    /// When it was saved, in milliseconds since 1970.
    pub changed_ms: i64,
}

/// Views by name.
type Views = BTreeMap<String, View>;

impl Lake {
    /// Names of the views of a SuperTable, sorted.
    ///
    /// # Errors
    /// `Denied`, `Unavailable`.
    pub async fn views(&self, who: &Principal, id: &SuperId) -> Result<Vec<SimpleName>> {
        self.allow_super(who, id, Permission::Read).await?;
        let (views, _) = self.stored_views(id).await?;
        Ok(views.keys().filter_map(|name| SimpleName::new(name).ok()).collect())
    }

    /// A view.
    ///
    /// # Errors
    /// `Denied`, `Unavailable`.
    pub async fn named_view(
        &self,
        who: &Principal,
        id: &SuperId,
        name: &SimpleName,
    ) -> Result<Option<View>> {
        self.allow_super(who, id, Permission::Read).await?;
        let (mut views, _) = self.stored_views(id).await?;
        Ok(views.remove(name.as_str()))
    }

    /// Changes the text of a view; `change` gets the text as it is (nothing = there is no such
    /// view) and answers what it becomes (nothing = it is removed). It may be asked again.
    ///
    /// # Errors
    /// `Denied`, `ReadOnly`, `TooLarge`, `Unavailable`; those of `change`.
    pub async fn change_view(
        &self,
        who: &Principal,
        id: &SuperId,
        name: &SimpleName,
        change: impl Fn(Option<&str>) -> Result<Option<String>>,
    ) -> Result<()> {
        self.allow_super(who, id, Permission::Write).await?;
        self.0.catalog.check_writable(id).await?;
        let key = DocKey::Views(id.clone());
        for _ in 0..ROUNDS_MAX {
            let (mut views, stored) = self.stored_views(id).await?;
            let before = views.get(name.as_str()).map(|view| view.text.as_str());
            let after = change(before)?;
            if before == after.as_deref() {
                return Ok(());
            }
            match after {
                None => {
                    views.remove(name.as_str());
                }
                Some(text) => {
                    let changed_ms = now_ms(&*self.0.clock);
                    views.insert(name.to_string(), View { text: checked(text)?, changed_ms });
                }
            }
            if views.len() > VIEWS_MAX {
                return Err(Error::new(ErrorKind::TooLarge, "a SuperTable has 1000 views at most")
                    .with("super", id));
            }
            let bytes = serde_json::to_vec(&views)
                .map_err(|error| Error::internal("write views").caused_by(error))?;
            let expected = stored.map_or(Expected::Absent, Expected::Is);
            if self.0.catalog.put_doc(&key, expected, bytes.into()).await? {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Busy, "others changed views each time").with("super", id))
    }

    async fn stored_views(&self, id: &SuperId) -> Result<(Views, Option<Bytes>)> {
        let stored = self.0.catalog.doc(&DocKey::Views(id.clone())).await?;
        let views = match &stored {
            None => Views::new(),
            Some(bytes) => serde_json::from_slice(bytes)
                .map_err(|error| Error::corrupt("read views").with("super", id).caused_by(error))?,
        };
        Ok((views, stored))
    }
}

fn checked(text: String) -> Result<String> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(Error::new(ErrorKind::TooLarge, "the text of the view is too long")
            .with("bytes_max", QUERY_BYTES_MAX));
    }
    Ok(text)
}
