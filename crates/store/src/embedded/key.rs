//! A key of the overlay: short ones lie in the map's node itself, not behind a pointer.
//!
//! A look-up in an ordered map compares a dozen keys; behind a pointer each of them is a miss of the cache, and each key an allocation.
//! All keys of the engine fit but those with the name of a workflow that is longer than usual.

use std::{borrow::Borrow, cmp::Ordering, fmt, ops::Deref};

use bytes::Bytes;

/// The longest key that is short: what makes the whole of it 40 bytes, of which none are lost.
const SHORT_MAX: usize = 38;
/// What is compared at first, as one number.
const HEAD: usize = 8;

/// Bytes, ordered as bytes are.
#[derive(Clone)]
pub(crate) enum Key {
    /// Zeros follow.
    Short {
        len: u8,
        bytes: [u8; SHORT_MAX],
    },
    Long(Bytes),
}

impl Key {
    pub(crate) fn new(key: &[u8]) -> Self {
        if key.len() > SHORT_MAX {
            return Self::Long(Bytes::copy_from_slice(key));
        }
        let mut bytes = [0; SHORT_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Self::Short { len: key.len() as u8, bytes }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Short { .. } => Bytes::copy_from_slice(self),
            Self::Long(bytes) => bytes.clone(),
        }
    }

    /// The first bytes as a number that has their order; of keys with the same one nothing is known.
    fn head(&self) -> u64 {
        let mut head = [0; HEAD];
        match self {
            Self::Short { bytes, .. } => head.copy_from_slice(&bytes[..HEAD]),
            Self::Long(bytes) => head.copy_from_slice(&bytes[..HEAD]),
        }
        u64::from_be_bytes(head)
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

/// For look-ups by bytes: `Ord`, `Eq` and `Debug` are those of bytes.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.head().cmp(&other.head()).then_with(|| self[..].cmp(&other[..]))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_order_of_their_bytes() {
        let long = [7; SHORT_MAX + 1];
        let texts: [&[u8]; 14] = [
            b"",
            b"\0",
            b"\0\0",
            b"a",
            b"a\0",
            b"a\0\0\0\0\0\0\0",
            b"a\0\0\0\0\0\0\0\0",
            b"ab",
            b"abcdefgh",
            b"abcdefghi",
            &long[..8],
            &long[..SHORT_MAX],
            &long,
            b"\xff",
        ];
        for one in texts {
            assert_eq!((&*Key::new(one), &Key::new(one).to_bytes()[..]), (one, one));
            for other in texts {
                assert_eq!(Key::new(one).cmp(&Key::new(other)), one.cmp(other), "{one:?} and {other:?}");
                assert_eq!(Key::new(one) == Key::new(other), one == other, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn a_key_takes_no_more_room_than_is_said() {
        assert_eq!(size_of::<Key>(), 40);
    }
}
