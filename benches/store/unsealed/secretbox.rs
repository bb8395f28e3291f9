//! In place of the secretbox: text stays text, tags are zeros, and every one is right.

use super::TAG_LEN;
pub(crate) use super::kernel::Message;
use crate::error::Result;
use crate::secret::KEY_LEN;

pub(crate) const NONCE_LEN: usize = 24;
pub(crate) const PREFIX_LEN: usize = 16;
pub(crate) const SUFFIX_LEN: usize = NONCE_LEN - PREFIX_LEN;

#[derive(Default)]
pub(crate) struct Subkey([u8; KEY_LEN]);

impl Subkey {
    pub(crate) fn set(&mut self, _: &[u8; KEY_LEN], _: &[u8; PREFIX_LEN]) {}

    pub(crate) fn with<T>(
        _: &[u8; KEY_LEN],
        _: &[u8; PREFIX_LEN],
        call: impl FnOnce(&Self) -> T,
    ) -> T {
        call(&Self::default())
    }

    pub(crate) fn as_key(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    pub(crate) fn seal(&self, _: &[u8; SUFFIX_LEN], _: &mut [u8]) -> [u8; TAG_LEN] {
        [0; TAG_LEN]
    }

    pub(crate) fn open(&self, _: &[u8; SUFFIX_LEN], _: &[u8; TAG_LEN], _: &mut [u8]) -> Result<()> {
        Ok(())
    }

    pub(crate) fn seal_many(&self, messages: &mut [Message<'_>]) {
        messages.iter_mut().for_each(|message| message.right = true);
    }

    pub(crate) fn open_many(&self, messages: &mut [Message<'_>]) {
        messages.iter_mut().for_each(|message| message.right = true);
    }
}

pub(crate) fn seal(_: &[u8; KEY_LEN], _: &[u8; NONCE_LEN], _: &mut [u8]) -> [u8; TAG_LEN] {
    [0; TAG_LEN]
}

pub(crate) fn open(
    _: &[u8; KEY_LEN],
    _: &[u8; NONCE_LEN],
    _: &[u8; TAG_LEN],
    _: &mut [u8],
) -> Result<()> {
    Ok(())
}
