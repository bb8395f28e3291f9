use core::fmt;
use std::io;

use zeroize::Zeroize;

/// Secret bytes of any length in memory that is wiped when it grows, shrinks or is dropped.
///
/// ```
/// use std::io::Write;
/// use nodeseal::secret::SecretBytes;
///
/// let mut payload = SecretBytes::new();
/// payload.write_all(b"correct horse")?;
/// assert_eq!(payload.expose(), b"correct horse");
/// assert_eq!(format!("{payload:?}"), "SecretBytes(13 bytes)");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// No bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// No bytes, with room for `capacity` of them.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Takes a vector's memory over, to wipe it in the end.
    #[must_use]
    pub const fn from_vec(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    ///
    /// # Security
    ///
    /// A copy that the caller makes is the caller's to wipe.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to change them in place.
    #[must_use]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes there is room for.
    pub(crate) const fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Appends `bytes`. Memory that becomes too small is wiped before it is released.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Makes the length `len`: adds zeros, or wipes what is cut off.
    pub fn resize(&mut self, len: usize) {
        if let Some(tail) = self.0.get_mut(len..) {
            tail.zeroize();
            self.0.truncate(len);
        } else {
            self.reserve(len - self.0.len());
            self.0.resize(len, 0);
        }
    }

    /// Wipes all bytes and keeps the memory for the next ones.
    pub fn clear(&mut self) {
        self.resize(0);
    }

    /// Makes the length `len`, at most what it is, and wipes nothing: for bytes that are no longer
    /// secret, having been sealed in place.
    pub(crate) fn cut_sealed(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Removes the first `count` bytes; the freed end of the memory is wiped.
    pub(crate) fn remove_front(&mut self, count: usize) {
        let count = count.min(self.0.len());
        self.0.copy_within(count.., 0);
        self.resize(self.0.len() - count);
    }

    /// The bytes as a vector that is not wiped: for what is no longer secret.
    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        core::mem::take(&mut self.0)
    }

    #[inline]
    fn reserve(&mut self, more: usize) {
        if self.0.capacity() - self.0.len() < more {
            self.grow(more);
        }
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let wanted = self.0.len().saturating_add(more);
        let mut larger = Vec::with_capacity(wanted.max(self.0.capacity().saturating_mul(2)));
        larger.extend_from_slice(&self.0);
        self.0.zeroize();
        self.0 = larger;
    }
}

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl io::Write for SecretBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_and_shrinking_keep_the_rest() {
        let mut bytes = SecretBytes::with_capacity(2);
        for n in 0..100u8 {
            bytes.extend_from_slice(&[n]);
        }
        bytes.resize(3);
        bytes.resize(5);
        assert_eq!(bytes.expose(), [0, 1, 2, 0, 0]);
        bytes.clear();
        assert!(bytes.is_empty());
    }
}
