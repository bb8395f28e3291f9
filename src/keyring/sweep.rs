use std::collections::BTreeMap;
use std::sync::Arc;

use super::shared::{Change, Shared, settled};
use crate::error::{Error, Result};
use crate::key::{DekId, Event};

/// A look at everything that is sealed, to find the DEKs that nothing names any more.
///
/// Show it the sealed form of everything that is stored: every record, cell and stream. Then
/// [`Sweep::finish`] drops the retiring DEKs that were not seen. What is shown need not be opened;
/// its first nine bytes suffice. While it runs, nothing that is sealed under a retiring DEK may be
/// copied from a place that was not shown yet to one that was.
///
/// ```
/// # use nodeseal::{Identity, Keyring, Protector, Reason, UnlockKey};
/// # let dir = tempfile::tempdir()?;
/// # let me = Identity::new("prod", "m1")?;
/// # let protector = Protector::unlock_key(&UnlockKey::generate()?);
/// # let keyring = Keyring::create(dir.path(), &me, protector, &[])?;
/// # let stored: Vec<Vec<u8>> = Vec::new();
/// keyring.rotate_dek(Reason::Requested)?;
/// // … re-seal what is stored, or replace it …
/// let mut sweep = keyring.sweep()?;
/// for sealed in &stored {
///     sweep.see(sealed)?;
/// }
/// let left = sweep.finish()?; // what is still named, and how often
/// assert!(left.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a sweep does nothing until it is finished"]
pub struct Sweep {
    shared: Arc<Shared>,
    /// How often each DEK that was retiring when it began was named.
    named: BTreeMap<DekId, u64>,
}

impl Sweep {
    pub(super) fn begin(shared: Arc<Shared>) -> Result<Self> {
        shared.intact()?;
        let retiring = settled(&shared.writer())?;
        Ok(Self { shared, named: retiring.into_iter().map(|id| (id, 0)).collect() })
    }

    /// Notes the DEK that `sealed` names.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if it is shorter than nine bytes or not of a sealed format.
    pub fn see(&mut self, sealed: &[u8]) -> Result<()> {
        match sealed.first_chunk::<9>() {
            Some([0x01..=0x03, id @ ..]) => {
                self.named.entry(DekId::from_bytes(*id)).and_modify(|count| *count += 1);
                Ok(())
            }
            _ => Err(Error::damaged("not a sealed record, stream or cell")),
        }
    }

    /// Drops the DEKs that were retiring when the sweep began and that nothing named, in one write
    /// of the key file. Gives those that are still named, and how often.
    ///
    /// # Errors
    ///
    /// As [`Keyring::rotate_dek`](super::Keyring::rotate_dek).
    pub fn finish(self) -> Result<Vec<(DekId, u64)>> {
        let unnamed: Vec<DekId> =
            self.named.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
        self.shared.drive(|_| Ok((Event::Unreferenced(&unnamed), Change::default())))?;
        Ok(self.named.into_iter().filter(|(_, count)| *count != 0).collect())
    }
}

impl core::fmt::Debug for Sweep {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sweep").field("named", &self.named).finish_non_exhaustive()
    }
}
