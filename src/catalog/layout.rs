//! Which key layout a catalogue is read and written in (format spec section 6.4).
//!
//! Nothing in the catalogues of the Python library says it: it follows from how the SuperTables'
//! roots are spelled. Lakes that Mountable made say it in a key of their own.

use std::collections::BTreeSet;

use super::keys::{self, KeyLayout};
use crate::error::{Error, Result};
use crate::ident::SuperId;

/// The layout of a catalogue: what the settings want, else what the lake was made with, else what
/// its roots are spelled in; `None` in `stored` = not known, and only then `roots` are looked at.
///
/// # Errors
/// `Invalid` if these contradict each other, or if both layouts are there and none is named;
/// `Unsupported` if two SuperTables share their directories.
pub(super) fn choose(
    wanted: Option<KeyLayout>,
    stored: Option<KeyLayout>,
    roots: impl IntoIterator<Item = (KeyLayout, SuperId)>,
) -> Result<KeyLayout> {
    if let Some(stored) = stored {
        return match wanted {
            Some(wanted) if wanted != stored => {
                Err(Error::invalid("the lake was made with the other key layout")
                    .with("wanted", wanted)
                    .with("made_with", stored))
            }
            _ => Ok(stored),
        };
    }
    let (mut v1, mut v2) = (BTreeSet::new(), BTreeSet::new());
    for (layout, id) in roots {
        match layout {
            KeyLayout::V1 => v1.insert(id),
            KeyLayout::V2 => v2.insert(id),
        };
    }
    if let Some(id) = v1.intersection(&v2).next() {
        return Err(shared(id));
    }
    match (wanted, v1.is_empty(), v2.is_empty()) {
        (Some(wanted), _, _) => Ok(wanted),
        (None, false, false) => Err(Error::invalid(
            "the catalogue holds SuperTables of both key layouts: set `layout` to v1 (SuperTable \
             2.0) or v2 (from 2.0.8 on)",
        )),
        (None, false, true) => Ok(KeyLayout::V1),
        (None, true, _) => Ok(KeyLayout::V2),
    }
}

/// The layout that a lake's own key names.
///
/// # Errors
/// `Invalid` if it names none.
pub(super) fn stored(raw: Option<&[u8]>) -> Result<Option<KeyLayout>> {
    raw.map(|raw| String::from_utf8_lossy(raw).parse())
        .transpose()
        .map_err(|error: Error| error.with("key", keys::LAYOUT))
}

/// Two SuperTables of different layouts over the same directories.
pub(super) fn shared(id: &SuperId) -> Error {
    Error::unsupported(
        "a SuperTable of this name exists in both key layouts, over the same directories: neither \
         sees what the other writes, so one of them has to go",
    )
    .with("super", id)
}

/// Refuses names that layout v1 uses for other things of the organization.
///
/// # Errors
/// `Invalid` with the name.
pub(super) fn check_name(layout: KeyLayout, id: &SuperId) -> Result<()> {
    const TAKEN: [&str; 7] = ["audit", "auth", "lakes", "monitor", "shares", "spark", "system"];
    if layout == KeyLayout::V1 && TAKEN.contains(&id.super_name.as_str()) {
        return Err(Error::invalid("name is used by key layout v1 itself: choose another one")
            .with("super", id));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn ids(texts: &[&str], layout: KeyLayout) -> Vec<(KeyLayout, SuperId)> {
        texts.iter().map(|text| (layout, SuperId::parse(text).expect("valid id"))).collect()
    }

    #[test]
    fn the_layout_follows_from_the_roots() {
        use KeyLayout::{V1, V2};
        let v1 = ids(&["acme/shop"], V1);
        let v2 = ids(&["acme/lab", "beta/shop"], V2);
        let both: Vec<_> = v1.iter().chain(&v2).cloned().collect();
        assert_eq!(choose(None, None, []).expect("empty"), V2);
        assert_eq!(choose(None, None, v1.clone()).expect("only v1"), V1);
        assert_eq!(choose(None, None, v2.clone()).expect("only v2"), V2);
        let error = choose(None, None, both.clone()).expect_err("which?");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(choose(Some(V1), None, both.clone()).expect("named"), V1);
        assert_eq!(choose(Some(V2), None, both).expect("named"), V2);
        assert_eq!(choose(Some(V1), None, []).expect("new lake"), V1);
        assert_eq!(choose(None, Some(V1), v2).expect("made with"), V1);
        let error = choose(Some(V2), Some(V1), []).expect_err("made with the other");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn two_layouts_over_one_directory_are_refused() {
        let roots = ids(&["acme/shop"], KeyLayout::V1).into_iter();
        let roots: Vec<_> = roots.chain(ids(&["acme/shop"], KeyLayout::V2)).collect();
        for wanted in [None, Some(KeyLayout::V1), Some(KeyLayout::V2)] {
            let error = choose(wanted, None, roots.clone()).expect_err("shared");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("acme/shop"), "{error}");
        }
    }

    #[test]
    fn names_that_would_hit_other_keys_are_refused() {
        let audit = SuperId::parse("acme/audit").expect("valid id");
        assert!(check_name(KeyLayout::V1, &audit).is_err());
        assert!(check_name(KeyLayout::V2, &audit).is_ok());
        let shop = SuperId::parse("acme/shop").expect("valid id");
        assert!(check_name(KeyLayout::V1, &shop).is_ok());
    }
}
