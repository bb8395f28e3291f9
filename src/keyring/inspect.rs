use std::path::Path;

use super::open::read;
use super::text::{KeyFile, SlotLine, Slots};
use super::{Keyring, Location};
use crate::error::Result;
use crate::fs::{Fs, RealFs};
use crate::key::{Costs, Identity, Kind};

/// What a key file tells without any key. None of it is authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Inspection {
    /// Whose keys it says they are.
    pub identity: Identity,
    /// Grows by one at every write.
    pub epoch: u64,
    /// Version of the lock record that it follows.
    pub kek_version: u64,
    /// The ways into it.
    pub slots: Vec<SlotInfo>,
    /// Length of the sealed key set, in bytes.
    pub sealed_bytes: usize,
    /// Length of the file, in bytes.
    pub file_bytes: usize,
}

/// A way into a key file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum SlotInfo {
    /// The file stands in the clear.
    None,
    /// The cluster's unlock key.
    Unlock,
    /// A passphrase.
    Passphrase(Costs),
    /// Of a kind that this version does not know; the file cannot be written.
    Unknown(String),
}

impl Inspection {
    /// Whether the file is locked.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        !self.slots.contains(&SlotInfo::None)
    }

    /// Reads the key file `path`, also while another has it open.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`](crate::Error::Missing), [`Error::Damaged`](crate::Error::Damaged),
    /// [`Error::Unsupported`](crate::Error::Unsupported), [`Error::Io`](crate::Error::Io).
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::read_in(&RealFs::default(), path.as_ref())
    }

    /// As [`Inspection::read`], through a given file system.
    ///
    /// # Errors
    ///
    /// As for [`Inspection::read`].
    pub fn read_in(fs: &dyn Fs, path: &Path) -> Result<Self> {
        let (file, bytes) = read(fs, path)?;
        Ok(Self::of(&file, bytes.len()))
    }

    pub(super) fn of(file: &KeyFile, file_bytes: usize) -> Self {
        let header = &file.header;
        let slots = match &header.slots {
            Slots::Clear(_) => vec![SlotInfo::None],
            Slots::Wrapped(slots) => slots.iter().map(slot_info).collect(),
        };
        Self {
            identity: header.identity.clone(),
            epoch: header.epoch,
            kek_version: header.kek_version,
            slots,
            sealed_bytes: file.sealed.len(),
            file_bytes,
        }
    }
}

fn slot_info(slot: &SlotLine) -> SlotInfo {
    match slot {
        SlotLine::Known(slot) => match (slot.head.kind, slot.head.costs) {
            (Kind::Passphrase, Some(costs)) => SlotInfo::Passphrase(costs),
            _ => SlotInfo::Unlock,
        },
        SlotLine::Unknown(line) => {
            SlotInfo::Unknown(line.split(' ').next().unwrap_or_default().to_owned())
        }
    }
}

impl Keyring {
    /// Reads what a key file tells without any key, also while another has it open.
    ///
    /// # Errors
    ///
    /// As [`Inspection::read`].
    pub fn inspect(at: impl Into<Location>) -> Result<Inspection> {
        let location = at.into();
        let (file, bytes) = read(&*location.fs, &location.file())?;
        Ok(Inspection::of(&file, bytes.len()))
    }
}
