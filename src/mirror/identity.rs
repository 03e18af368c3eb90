//! Ids that are derived from what they name, so that a repeated attempt makes the same ones.

/// A UUID (version 8) that is derived from a text.
pub(super) fn uuid_of(about: &str) -> String {
    let digest = blake3::hash(about.as_bytes());
    let mut bytes: [u8; 16] = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    let number = u128::from_be_bytes(bytes);
    let number = number & !(0xf << 76) | (0x8 << 76);
    let number = number & !(0x3 << 62) | (0x2 << 62);
    let hex = format!("{number:032x}");
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// A positive number that is derived from a text, as Iceberg wants the ids of its snapshots.
pub(super) fn number_of(about: &str) -> i64 {
    let digest = blake3::hash(about.as_bytes());
    let mut bytes = [0_u8; 8];
    for (to, from) in bytes.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    let [first, ..] = &mut bytes;
    *first &= 0x7f;
    i64::from_be_bytes(bytes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids() {
        let id = uuid_of("acme/shop/orders");
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(id.chars().nth(14), Some('8'));
        assert!(matches!(id.chars().nth(19), Some('8' | '9' | 'a' | 'b')), "{id}");
        assert_ne!(id, uuid_of("acme/shop/order"));
    }

    #[test]
    fn numbers_are_positive_and_differ() {
        let all: std::collections::BTreeSet<i64> =
            (0..100).map(|n| number_of(&n.to_string())).collect();
        assert_eq!(all.len(), 100);
        assert!(all.iter().all(|number| *number > 0));
    }
}
