//! A manager's folder as a native keyring and store.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::{CERTIFICATES, CIPHER, FERNET, FILES, LOG, MEMBER, Migrated, TLS_KEY};
use crate::error::{Error, Result};
use crate::fs::{self, Fs, RealFs};
use crate::key::{Identity, LockRecord, UnlockKey};
use crate::keyring::{Keyring, Location, Protector};
use crate::seal::{Era, LogId};
use crate::secret::SecretBytes;
use crate::store::{Change, Options, Store};
use crate::swarm::certificate::{self, MAX_CERTIFICATE};
use crate::swarm::finding::Findings;
use crate::swarm::folder::Folder;
use crate::swarm::key_file::{KeyFile, NodeKeys};
use crate::swarm::log::{Entry, RaftMember, Visit};
use crate::swarm::new_folder::{NewFolder, check_free};
use crate::swarm::record::Cipher;
use crate::swarm::replay::Passing;
use crate::swarm::snapshot::Loaded;
use crate::swarm::state::{RaftFacts, State, Watch, gather_watched, read_key_file};

/// The longest of Docker's own files, in bytes.
const MAX_FILE: usize = 256 << 10;
/// How many bytes of entries are written at once.
const BATCH: usize = 1 << 20;

/// Makes a native keyring and store of `dir`, the folder of a manager that is stopped, in `to`, which
/// must not exist or be an empty folder. `dir` is not changed.
///
/// Entries and snapshot are carried over byte for byte, so that nothing in them is lost, known to
/// this version or not; [`import`](super::import()) gives them back. They are locked with the same
/// unlock key, or with none. `docs/design.md` has the form.
///
/// # Errors
///
/// [`Error::KeyRequired`], [`Error::WrongKey`]; [`Error::Damaged`] if something is lost: salvage it
/// first. [`Error::Exists`]; [`Error::Busy`] while a dockerd runs on the folder; [`Error::Missing`]
/// and [`Error::Io`]. Nothing is at `to` then.
pub fn export(
    dir: impl AsRef<Path>,
    to: impl AsRef<Path>,
    key: Option<&UnlockKey>,
) -> Result<Migrated> {
    export_in(&(Arc::new(RealFs) as Arc<dyn Fs>), dir.as_ref(), to.as_ref(), key)
}

/// As [`export`], through a given file system.
///
/// # Errors
///
/// As for [`export`].
pub fn export_in(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    to: &Path,
    key: Option<&UnlockKey>,
) -> Result<Migrated> {
    let folder = Folder::new(dir);
    let _locks = folder.lock_to_read(&**fs)?;
    check_free(&**fs, to)?;
    Source::read(&**fs, dir, key)?.write(fs, to, key)
}

/// What [`export`] would carry over. Nothing is written.
///
/// # Errors
///
/// As for [`export`].
pub fn plan_export(
    dir: impl AsRef<Path>,
    to: impl AsRef<Path>,
    key: Option<&UnlockKey>,
) -> Result<Migrated> {
    plan_export_in(&RealFs::default(), dir.as_ref(), to.as_ref(), key)
}

/// As [`plan_export`], through a given file system.
///
/// # Errors
///
/// As for [`export`].
pub fn plan_export_in(
    fs: &dyn Fs,
    dir: &Path,
    to: &Path,
    key: Option<&UnlockKey>,
) -> Result<Migrated> {
    let _locks = Folder::new(dir).lock_to_read(fs)?;
    check_free(fs, to)?;
    Ok(Source::read(fs, dir, key)?.migrated)
}

/// A folder that is whole, without what it holds.
struct Source<'a> {
    dir: &'a Path,
    folder: Folder,
    file: KeyFile,
    keys: NodeKeys,
    identity: Identity,
    member: RaftMember,
    raft: RaftFacts,
    migrated: Migrated,
}

impl<'a> Source<'a> {
    fn read(fs: &dyn Fs, dir: &'a Path, key: Option<&UnlockKey>) -> Result<Self> {
        let folder = Folder::new(dir);
        let state = State::read_in(fs, dir, key)?;
        if let Some(finding) = state.losses().next() {
            let what = "some of the state is lost; salvage what is left first";
            return Err(Error::Damaged { what, place: finding.place.clone() });
        }
        let file = read_key_file(fs, &folder.key_file())?;
        let keys = file.unlock(key).map_err(|error| error.in_file(&folder.key_file()))?;
        let lost = |what| Error::damaged(what).in_file(&folder.log());
        let State { objects, raft, .. } = state;
        let member = raft.member.clone().ok_or_else(|| lost("the log names no node"))?;
        let cluster = objects.clusters.keys().next();
        let cluster = cluster.ok_or_else(|| lost("the store has no cluster object"))?;
        let identity = Identity::new(cluster, &member.node_id)?;
        let used = raft.snapshots.iter().find(|snapshot| snapshot.used);
        let snapshot = used.and_then(|snapshot| snapshot.index);
        let base = snapshot.unwrap_or(0);
        let last_index = raft.last_index.unwrap_or(0).max(base);
        let entries = last_index - base;
        let (objects, locked) = (objects.counts(), file.locked());
        let migrated = Migrated { objects, snapshot, entries, last_index, locked };
        Ok(Self { dir, folder, file, keys, identity, member, raft, migrated })
    }

    fn write(self, fs: &Arc<dyn Fs>, to: &Path, key: Option<&UnlockKey>) -> Result<Migrated> {
        let disk = &**fs;
        let new = NewFolder::begin_native(disk, to)?;
        let protector = match key.filter(|_| self.file.locked()) {
            Some(key) => {
                let version = self.file.kek_version().unwrap_or(0);
                Protector::lock_record(&LockRecord::locked(version, key))
            }
            None => Protector::none(),
        };
        let attachments = self.attachments(disk)?;
        let attachments: Vec<_> =
            attachments.iter().map(|(name, content)| (*name, content.expose())).collect();
        let at = |dir: &Path| Location::on(Arc::clone(fs), dir);
        let keyring = Keyring::create(at(new.path()), &self.identity, protector, &attachments)?;
        let store = Store::create(at(&new.path().join(LOG)), &keyring, Options::new(LOG))?;

        let mut writer = IntoStore::new(&store);
        let mut members = Passing::default();
        let mut findings = Findings::default();
        let keys = Some(&self.keys);
        gather_watched(disk, &self.folder, keys, &mut members, &mut writer, &mut findings)?;
        writer.flush();
        let (snapshot, entries) = (writer.base, writer.entries);
        if let Some(error) = writer.failed {
            return Err(error);
        }
        store.apply(self.last(disk, &store)?)?;
        let last_index = store.state().last.index;
        drop((store, keyring));
        new.finish()?;
        Ok(Migrated { snapshot, entries, last_index, ..self.migrated })
    }

    fn attachments(&self, fs: &dyn Fs) -> Result<Vec<(&'static str, SecretBytes)>> {
        let mut attachments = vec![(TLS_KEY, SecretBytes::from(self.keys.tls_key.expose()))];
        let read = |path: &Path| fs::read(fs, path, MAX_CERTIFICATE);
        let own = match certificate::of_key(fs, &self.folder, Some(&self.keys.tls_key))? {
            Some(held) => held.text,
            None => read(&self.folder.certificate())?,
        };
        let root = read(&self.folder.root_certificate())?;
        for (name, content) in CERTIFICATES.into_iter().zip([own, root]) {
            attachments.push((name, SecretBytes::from_vec(content)));
        }
        Ok(attachments)
    }

    /// What stands beside the entries.
    fn last(&self, fs: &dyn Fs, store: &Store) -> Result<Change> {
        let hard_state = self.raft.hard_state.unwrap_or_default();
        let mut last = Change::new();
        last.vote(&hard_state.encode()).put_meta(MEMBER, &self.member.encode());
        if self.raft.cipher().max(self.file.cipher()) == Cipher::Fernet {
            last.put_meta(CIPHER, FERNET);
        }
        for (name, meta) in FILES {
            match fs::read(fs, &self.dir.join(name), MAX_FILE) {
                Ok(content) => {
                    last.put_meta(meta, &content);
                }
                Err(Error::Missing(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(id) = store.id_at(hard_state.commit) {
            last.committed(id);
        }
        Ok(last)
    }
}

/// Writes what comes by into a store.
struct IntoStore<'a> {
    store: &'a Store,
    change: Change,
    size: usize,
    entries: u64,
    base: Option<u64>,
    failed: Option<Error>,
}

impl<'a> IntoStore<'a> {
    fn new(store: &'a Store) -> Self {
        Self { store, change: Change::new(), size: 0, entries: 0, base: None, failed: None }
    }

    fn keep(&mut self, written: Result<()>) {
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }

    fn flush(&mut self) {
        let change = core::mem::take(&mut self.change);
        if self.failed.is_none() && self.size > 0 {
            self.keep(self.store.apply(change));
        }
        self.size = 0;
    }

    fn install(&self, loaded: &Loaded) -> Result<()> {
        let at = LogId::new(loaded.point.index, Era::term(loaded.point.term));
        let mut writer = self.store.write_snapshot()?;
        writer.write_all(loaded.content.expose()).map_err(Error::Stream)?;
        let snapshot = writer.finish(at, b"")?;
        let mut change = Change::new();
        change.purge(at).committed(at);
        self.store.install(snapshot, change)
    }

    fn push(&mut self, visit: &Visit<'_>, content: &SecretBytes) -> Result<()> {
        let EntryParts { id, head } = EntryParts::of(visit, content.len());
        self.change.push(id, |out| {
            out.extend_from_slice(&head);
            out.extend_from_slice(content.expose());
        })?;
        self.size += head.len() + content.len();
        self.entries += 1;
        Ok(())
    }
}

struct EntryParts {
    id: LogId,
    head: Vec<u8>,
}

impl EntryParts {
    fn of(visit: &Visit<'_>, len: usize) -> Self {
        let record = visit.entry;
        let (kind, term, index) = (record.kind, record.term, record.index);
        let head = Entry { kind, term, index, data: &[] }.head(len);
        Self { id: LogId::new(index, Era::term(term)), head }
    }
}

impl Watch for IntoStore<'_> {
    fn snapshot(&mut self, loaded: &Loaded) {
        self.base = Some(loaded.point.index);
        let installed = self.install(loaded);
        self.keep(installed);
    }

    fn entry(&mut self, visit: &Visit<'_>) {
        if self.failed.is_some() || !visit.counts {
            return;
        }
        let Some(Ok(content)) = visit.opened else { return };
        let pushed = self.push(visit, content);
        self.keep(pushed);
        if self.size >= BATCH {
            self.flush();
        }
    }
}
