use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::journal::State;

/// Number of a file or folder on the disk.
pub(super) type Inode = u64;

/// The names in a folder.
#[derive(Clone, Default)]
pub(super) struct Names(BTreeMap<OsString, Inode>);

#[derive(Clone)]
pub(super) enum NameChange {
    Add { name: OsString, inode: Inode },
    Remove { name: OsString },
    Rename { from: OsString, to: OsString, inode: Inode },
}

impl Names {
    pub(super) fn get(&self, name: &OsStr) -> Option<Inode> {
        self.0.get(name).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OsString, Inode)> {
        self.0.iter().map(|(name, inode)| (name, *inode))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl State for Names {
    type Change = NameChange;

    fn units(_: &NameChange) -> u64 {
        1
    }

    /// Also a rename is one unit: it takes place as a whole.
    fn apply(&mut self, change: &NameChange, keep: &mut dyn FnMut() -> bool) {
        if !keep() {
            return;
        }
        match change {
            NameChange::Add { name, inode } => {
                self.0.insert(name.clone(), *inode);
            }
            NameChange::Remove { name } => {
                self.0.remove(name);
            }
            NameChange::Rename { from, to, inode } => {
                // What came to have the name before may be lost, and another still be there.
                if self.get(from) == Some(*inode) {
                    self.0.remove(from);
                }
                self.0.insert(to.clone(), *inode);
            }
        }
    }
}
