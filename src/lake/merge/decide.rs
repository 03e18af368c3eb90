//! Three-way decisions about single rows. Pure: a row is a list of comparable cells.

/// What becomes of the row of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing: there is no change, or ours has it already.
    Keep,
    /// Theirs takes the place of ours, or is added.
    Take,
    /// Ours is removed.
    Remove,
    /// The cells where this is `true` are theirs, the others ours.
    Mix(Vec<bool>),
    /// Both sides gave these cells different values.
    CellConflict(Vec<usize>),
    /// One side removed what the other changed.
    RowConflict,
}

/// Decides about a row that `base`, `ours` and `theirs` have or do not have.
pub(super) fn decide<C: PartialEq>(
    base: Option<&[C]>,
    ours: Option<&[C]>,
    theirs: Option<&[C]>,
) -> Decision {
    if ours == theirs || theirs == base {
        return Decision::Keep;
    }
    if ours == base {
        return if theirs.is_some() { Decision::Take } else { Decision::Remove };
    }
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return Decision::RowConflict };
    let mut from_theirs = vec![false; ours.len()];
    let mut conflicts = Vec::new();
    for (index, (our, their)) in ours.iter().zip(theirs).enumerate() {
        let was = base.and_then(|base| base.get(index));
        if our == their || was == Some(their) {
            continue;
        }
        if was == Some(our) {
            if let Some(cell) = from_theirs.get_mut(index) {
                *cell = true;
            }
        } else {
            conflicts.push(index);
        }
    }
    match (conflicts.is_empty(), from_theirs.contains(&true)) {
        (false, _) => Decision::CellConflict(conflicts),
        (true, true) => Decision::Mix(from_theirs),
        (true, false) => Decision::Keep,
    }
}

/// How often a row comes or goes where rows have no keys; `None` = both sides changed its number
/// differently.
pub(super) fn decide_count(ours: i64, theirs: i64) -> Option<i64> {
    match (ours, theirs) {
        (_, 0) => Some(0),
        (0, theirs) => Some(theirs),
        (ours, theirs) if ours == theirs => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: Option<&str>, ours: Option<&str>, theirs: Option<&str>) -> Decision {
        let cells = |row: Option<&str>| row.map(|row| row.chars().collect::<Vec<_>>());
        let (base, ours, theirs) = (cells(base), cells(ours), cells(theirs));
        decide(base.as_deref(), ours.as_deref(), theirs.as_deref())
    }

    #[test]
    fn what_only_one_side_changed_is_taken() {
        assert_eq!(check(Some("ab"), Some("ab"), Some("ac")), Decision::Take);
        assert_eq!(check(Some("ab"), Some("ac"), Some("ab")), Decision::Keep);
        assert_eq!(check(Some("ab"), Some("ab"), None), Decision::Remove);
        assert_eq!(check(Some("ab"), None, Some("ab")), Decision::Keep);
        assert_eq!(check(None, None, Some("ab")), Decision::Take);
        assert_eq!(check(None, Some("ab"), None), Decision::Keep);
    }

    #[test]
    fn what_both_sides_changed_alike_stays() {
        assert_eq!(check(Some("ab"), Some("ac"), Some("ac")), Decision::Keep);
        assert_eq!(check(Some("ab"), None, None), Decision::Keep);
        assert_eq!(check(None, Some("ac"), Some("ac")), Decision::Keep);
    }

    #[test]
    fn cells_that_different_sides_changed_meet_in_one_row() {
        assert_eq!(
            check(Some("abc"), Some("xbc"), Some("aby")),
            Decision::Mix(vec![false, false, true])
        );
        assert_eq!(
            check(Some("abc"), Some("xbc"), Some("xby")),
            Decision::Mix(vec![false, false, true])
        );
        assert_eq!(check(Some("abc"), Some("xby"), Some("aby")), Decision::Keep);
    }

    #[test]
    fn different_values_are_conflicts() {
        assert_eq!(check(Some("abc"), Some("xbc"), Some("ybz")), Decision::CellConflict(vec![0]));
        assert_eq!(check(None, Some("ab"), Some("ac")), Decision::CellConflict(vec![1]));
        assert_eq!(check(Some("ab"), None, Some("ac")), Decision::RowConflict);
        assert_eq!(check(Some("ab"), Some("ac"), None), Decision::RowConflict);
    }

    #[test]
    fn numbers_of_equal_rows_follow_the_side_that_changed_them() {
        assert_eq!(decide_count(0, 2), Some(2));
        assert_eq!(decide_count(0, -1), Some(-1));
        assert_eq!(decide_count(3, 0), Some(0));
        assert_eq!(decide_count(1, 1), Some(0));
        assert_eq!(decide_count(1, 2), None);
        assert_eq!(decide_count(-1, 1), None);
    }
}
