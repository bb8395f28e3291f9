//! What appends batches of entries durably, and reads all of them at a start.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Outcome;

pub trait Engine {
    fn name(&self) -> &'static str;

    /// Appends one batch of entries behind the last, durable when it returns.
    fn append(&mut self, entries: &[Vec<u8>]) -> Outcome;
}

macro_rules! store {
    ($module:ident, $library:ident, $name:literal) => {
        pub mod $module {
            use std::num::NonZeroUsize;
            use std::path::Path;

            use $library::seal::{Era, LogId};
            use $library::store::{Change, Options};
            use $library::{Identity, Keyring, Protector, Store};

            use super::Engine;
            use crate::Outcome;

            pub struct Log {
                pub keyring: Keyring,
                pub store: Store,
                next: u64,
            }

            impl Log {
                pub fn create(dir: &Path) -> Outcome<Self> {
                    let me = Identity::new("prod", "m1")?;
                    let keys = dir.join("keys");
                    let keyring = Keyring::create(keys, &me, Protector::none(), &[])?;
                    let store = Store::create(dir.join("raft"), &keyring, Options::new("raft"))?;
                    Ok(Self { keyring, store, next: 1 })
                }

                fn change(&mut self, entries: &[Vec<u8>]) -> Outcome<Change> {
                    let mut change = self.store.change();
                    for entry in entries {
                        let id = LogId::new(self.next, Era::term(1));
                        change.push(id, |out| out.extend_from_slice(entry))?;
                        self.next += 1;
                    }
                    Ok(change)
                }

                /// Appends without waiting for the disk.
                pub fn fill(&mut self, entries: &[Vec<u8>]) -> Outcome {
                    let change = self.change(entries)?;
                    let _pending = self.store.write(change)?;
                    Ok(())
                }

                /// Closes it and opens it again, and every entry.
                pub fn reopen(self, dir: &Path, threads: NonZeroUsize) -> Outcome<Self> {
                    let Self { keyring, store, next } = self;
                    drop(store);
                    let mut seen = 0;
                    let options = Options::new("raft").threads(threads);
                    let options = options.verify(|progress| seen = progress.entries);
                    let store = Store::open(dir.join("raft"), &keyring, options)?;
                    assert_eq!(seen, next - 1);
                    Ok(Self { keyring, store, next })
                }
            }

            impl Engine for Log {
                fn name(&self) -> &'static str {
                    $name
                }

                fn append(&mut self, entries: &[Vec<u8>]) -> Outcome {
                    let change = self.change(entries)?;
                    Ok(self.store.apply(change)?)
                }
            }
        }
    };
}

store!(sealed, nodeseal, "sealed");
store!(unsealed, nodeseal_unsealed, "unsealed");

/// A file of zeros that are on the disk, written over from the front, one write and one fdatasync a
/// batch.
pub struct Plain {
    file: File,
    at: u64,
    buffer: Vec<u8>,
}

impl Plain {
    pub fn create(dir: &Path, len: usize) -> Outcome<Self> {
        let file = File::create_new(dir.join("plain"))?;
        let zeros = vec![0; 1 << 20];
        for at in (0..len + zeros.len()).step_by(zeros.len()) {
            file.write_all_at(&zeros, at as u64)?;
        }
        file.sync_all()?;
        Ok(Self { file, at: 0, buffer: Vec::new() })
    }
}

impl Engine for Plain {
    fn name(&self) -> &'static str {
        "plain file"
    }

    fn append(&mut self, entries: &[Vec<u8>]) -> Outcome {
        self.buffer.clear();
        for entry in entries {
            self.buffer.extend_from_slice(&(entry.len() as u64).to_le_bytes());
            self.buffer.extend_from_slice(entry);
        }
        self.file.write_all_at(&self.buffer, self.at)?;
        self.file.sync_data()?;
        self.at += self.buffer.len() as u64;
        Ok(())
    }
}

const TABLE: redb::TableDefinition<'static, u64, &'static [u8]> = redb::TableDefinition::new("log");
const STATE: redb::TableDefinition<'static, &'static str, u64> =
    redb::TableDefinition::new("state");

/// Entries by index, and one row beside them, as the store writes its state.
pub struct Redb {
    pub database: redb::Database,
    next: u64,
}

impl Redb {
    pub fn create(dir: &Path) -> Outcome<Self> {
        Ok(Self { database: redb::Database::create(dir.join("redb"))?, next: 1 })
    }

    pub fn reopen(self, dir: &Path) -> Outcome<Self> {
        let Self { database, next } = self;
        drop(database);
        let database = redb::Database::open(dir.join("redb"))?;
        let mut seen = 0;
        {
            use redb::{ReadableDatabase, ReadableTable};
            let read = database.begin_read()?;
            for row in read.open_table(TABLE)?.iter()? {
                seen += u64::from(!row?.1.value().is_empty());
            }
        }
        assert_eq!(seen, next - 1);
        Ok(Self { database, next })
    }
}

impl Engine for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn append(&mut self, entries: &[Vec<u8>]) -> Outcome {
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(TABLE)?;
            for entry in entries {
                table.insert(self.next, entry.as_slice())?;
                self.next += 1;
            }
            write.open_table(STATE)?.insert("last", self.next)?;
        }
        Ok(write.commit()?)
    }
}

/// As [`Redb`].
pub struct Fjall {
    database: fjall::Database,
    log: fjall::Keyspace,
    state: fjall::Keyspace,
    next: u64,
}

impl Fjall {
    pub fn create(dir: &Path) -> Outcome<Self> {
        let database = fjall::Database::builder(dir.join("fjall")).open()?;
        let log = database.keyspace("log", fjall::KeyspaceCreateOptions::default)?;
        let state = database.keyspace("state", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self { database, log, state, next: 1 })
    }

    pub fn reopen(self, dir: &Path) -> Outcome<Self> {
        let next = self.next;
        drop(self);
        let opened = Self::create(dir)?;
        let mut seen = 0;
        for row in opened.log.iter() {
            seen += u64::from(!row.value()?.is_empty());
        }
        assert_eq!(seen, next - 1);
        Ok(Self { next, ..opened })
    }
}

impl Engine for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn append(&mut self, entries: &[Vec<u8>]) -> Outcome {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for entry in entries {
            batch.insert(&self.log, self.next.to_be_bytes(), entry.as_slice());
            self.next += 1;
        }
        batch.insert(&self.state, "last", self.next.to_be_bytes());
        Ok(batch.commit()?)
    }
}
