use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::KeyspaceId;
use super::shared::{Change, Shared, settled};
use crate::error::{Error, Misuse, Result};
use crate::key::{DekId, Event};

/// A look at everything that is sealed, to find the DEKs that nothing names any more.
///
/// Show it the sealed form of everything that is stored, every record, cell and stream, and say of
/// each keyspace that this was all of it ([`Sweep::shown`]). Then [`Sweep::finish`] drops the
/// retiring DEKs that were not seen. What is shown need not be opened; its first nine bytes
/// suffice. While it runs, nothing that is sealed under a retiring DEK may be copied from a place
/// that was not shown yet to one that was.
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
/// # drop(keyring.keyspace("raft")?);
/// let mut sweep = keyring.sweep()?;
/// for sealed in &stored {
///     sweep.see(sealed)?;
/// }
/// sweep.shown("raft");
/// let left = sweep.finish()?; // what is still named, and how often
/// assert!(left.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a sweep does nothing until it is finished"]
pub struct Sweep {
    shared: Arc<Shared>,
    /// How often each DEK that was retiring when it began was named.
    named: BTreeMap<DekId, u64>,
    /// The keyspaces that were registered when it began, and have not been shown.
    hidden: BTreeMap<String, KeyspaceId>,
}

impl Sweep {
    pub(super) fn begin(shared: Arc<Shared>) -> Result<Self> {
        shared.intact()?;
        let (retiring, hidden) = {
            let writer = shared.writer();
            let keyspaces = writer.set.keyspaces.iter();
            (settled(&writer)?, keyspaces.map(|(name, found)| (name.clone(), found.id)).collect())
        };
        Ok(Self { shared, named: retiring.into_iter().map(|id| (id, 0)).collect(), hidden })
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

    /// Notes that everything that is stored of the keyspace `name` was shown.
    /// [`Store::show`](crate::Store::show) does so for the store's.
    pub fn shown(&mut self, name: &str) {
        self.hidden.remove(name);
    }

    /// Like [`Sweep::shown`]; a keyspace of another keyring changes nothing.
    pub(crate) fn shown_keyspace(&mut self, keyspace: KeyspaceId) {
        self.hidden.retain(|_, id| *id != keyspace);
    }

    /// Drops the DEKs that were retiring when the sweep began and that nothing named, in one write
    /// of the key file. Gives those that are still named, and how often.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotShown`], with nothing dropped, if a keyspace that was registered when the sweep began
    /// was neither shown nor has been forgotten since; or like
    /// [`Keyring::rotate_dek`](super::Keyring::rotate_dek).
    pub fn finish(self) -> Result<Vec<(DekId, u64)>> {
        let unnamed: Vec<DekId> =
            self.named.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
        self.shared.drive(|set| {
            let registered: BTreeSet<_> = set.keyspaces.values().map(|found| found.id).collect();
            let hidden = self.hidden.iter().filter(|(_, id)| registered.contains(*id));
            let hidden: Vec<String> = hidden.map(|(name, _)| name.clone()).collect();
            if !hidden.is_empty() {
                return Err(Misuse::NotShown(hidden).into());
            }
            Ok((Event::Unreferenced(&unnamed), Change::default()))
        })?;
        Ok(self.named.into_iter().filter(|(_, count)| *count != 0).collect())
    }
}

impl core::fmt::Debug for Sweep {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sweep")
            .field("named", &self.named)
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}
