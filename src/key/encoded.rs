//! The stored form of a key.

use std::fmt;

use smallvec::SmallVec;

use super::{KeyType, encoding};
use crate::error::Result;

/// A key as the stores hold it (`MinValue`, `MaxValue`): bytes whose unsigned order is the order of keys.
///
/// The empty encoding is the least key of its type. Up to 16 bytes are held without an allocation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EncodedKey(SmallVec<[u8; 16]>);

impl EncodedKey {
    /// The longest encoding, in bytes (the columns are `varbinary(128)`).
    pub const MAX_LENGTH: usize = 128;

    /// The encoding of the least key of every type: no bytes.
    #[must_use]
    pub fn minimum() -> Self {
        Self::default()
    }

    /// Takes what a store holds for a key of the given type, and puts it into its one canonical form: a full-width row of
    /// zeros is the least key, and trailing zeros of a binary key do not count.
    ///
    /// # Errors
    /// [`ErrorKind::StoreDamaged`](crate::ErrorKind::StoreDamaged) if no key of that type is encoded so.
    pub fn from_stored(key_type: KeyType, bytes: &[u8]) -> Result<Self> {
        encoding::check_stored(key_type, bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Only for `encoding`, which makes canonical bytes.
    pub(super) fn from_canonical(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }
}

impl fmt::Display for EncodedKey {
    /// `0x` and lower-case hexadecimal digits: the form in which keys travel in log records.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EncodedKey {
    /// Without the key, which logs must not hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedKey({} bytes)", self.0.len())
    }
}
