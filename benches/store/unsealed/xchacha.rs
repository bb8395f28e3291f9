//! In place of XChaCha20-Poly1305: the same room, nothing sealed.

use super::TAG_LEN;
use crate::error::{Error, Result};
use crate::secret::KEY_LEN;

pub(crate) const OVERHEAD: usize = 24 + TAG_LEN;

pub(crate) fn seal(_: &[u8; KEY_LEN], _: &[u8], message: &mut [u8]) -> Result<()> {
    open(&[0; KEY_LEN], &[], message).map(drop)
}

pub(crate) fn open<'a>(_: &[u8; KEY_LEN], _: &[u8], message: &'a mut [u8]) -> Result<&'a mut [u8]> {
    let short = || Error::damaged("a message is too short");
    message.get_mut(OVERHEAD..).ok_or_else(short)
}
