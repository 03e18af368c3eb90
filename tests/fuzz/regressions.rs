//! What fuzzing found once, each with what it was.

use super::targets;

/// An empty input reaches every target.
#[test]
fn nothing_at_all_is_an_input() {
    for (_, execute) in targets::TARGETS {
        execute(b"");
    }
}
