//! A manager's folder as a native keyring and store, and back.
//!
//! # Native form
//!
//! | in the native folder | what it holds |
//! |---|---|
//! | `node.keys` | the key file, locked with the same unlock key under the same version; identity: the cluster's and the node's Swarm ids; attachments `tls-key` (DER), `swarm-node.crt`, `swarm-root-ca.crt` |
//! | `raft/`, log `raft` | the store |
//! | its entries | `raftpb.Entry` with its content in plaintext, at their indices, of their terms |
//! | its snapshot | the content of Swarm's, `api.Snapshot` |
//! | its vote | `raftpb.HardState` |
//! | its metadata `swarm.member` | `RaftMember`, as the log's metadata has it |
//! | `swarm.docker-state.json`, `swarm.state.json` | the files, where there are any |

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::crypto::random;
use crate::error::{Error, Result};
use crate::fs::{self, Fs, RealFs};
use crate::key::{Identity, LockRecord, UnlockKey};
use crate::keyring::{self, Keyring, Location, LockPolicy, Opened, Protector};
use crate::seal::{Era, LogId};
use crate::secret::SecretBytes;
use crate::store::{Change, Options, Store};
use crate::swarm::certificate::MAX_CERTIFICATE;
use crate::swarm::finding::Findings;
use crate::swarm::folder::Folder;
use crate::swarm::image::Image;
use crate::swarm::key_file::Contents;
use crate::swarm::log::{Entry, HardState, Members, RaftMember, SnapshotPoint, Visit};
use crate::swarm::new_folder::{NewFolder, SIZE};
use crate::swarm::objects::ObjectKind;
use crate::swarm::record;
use crate::swarm::replay::Replay;
use crate::swarm::snapshot::Loaded;
use crate::swarm::state::{State, Watch, gather_watched, read_key_file};
use crate::wal::etcd::Writer;

const LOG: &str = "raft";
const TLS_KEY: &str = "tls-key";
const CERTIFICATES: [&str; 2] = ["swarm-node.crt", "swarm-root-ca.crt"];
const MEMBER: &str = "swarm.member";
/// The files of Docker's own beside the state, and their names in the store.
const FILES: [(&str, &str); 2] =
    [("docker-state.json", "swarm.docker-state.json"), ("state.json", "swarm.state.json")];
/// The longest of them, in bytes.
const MAX_FILE: usize = 256 << 10;
/// How many bytes of entries are written at once.
const BATCH: usize = 1 << 20;

/// What was carried over.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Migrated {
    /// How many objects the state has, of each kind of which there are any.
    pub objects: BTreeMap<ObjectKind, usize>,
    /// Index of the last entry that the snapshot covers, if there is a snapshot.
    pub snapshot: Option<u64>,
    /// How many entries stand behind it.
    pub entries: u64,
    /// Index of the last entry.
    pub last_index: u64,
    /// Whether it is locked with an unlock key.
    pub locked: bool,
}

/// Makes a native keyring and store of `dir`, the folder of a manager that is stopped, in `to`, which
/// must not exist or be an empty folder. `dir` is not changed.
///
/// Entries and snapshot are carried over byte for byte, so that nothing in them is lost, known to
/// this version or not; [`import`] gives them back. They are locked with the same unlock key, or
/// with none. `docs/design.md` has the form.
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
    let disk = &**fs;
    let folder = Folder::new(dir);
    let _locks = folder.lock_to_read(disk)?;
    let state = State::read_in(disk, dir, key)?;
    if let Some(finding) = state.losses().next() {
        let what = "some of the state is lost; salvage what is left first";
        return Err(Error::Damaged { what, place: finding.place.clone() });
    }
    let file = read_key_file(disk, &folder.key_file())?;
    let keys = file.unlock(key).map_err(|error| error.in_file(&folder.key_file()))?;
    let raft = &state.raft;
    let lost = |what| Error::damaged(what).in_file(&folder.log());
    let member = raft.member.as_ref().ok_or_else(|| lost("the log names no node"))?;
    let cluster = state.objects.clusters.keys().next();
    let cluster = cluster.ok_or_else(|| lost("the store has no cluster object"))?;
    let identity = Identity::new(cluster, &member.node_id)?;

    let new = NewFolder::begin_native(disk, to)?;
    let mut attachments = vec![(TLS_KEY, SecretBytes::from(keys.tls_key.expose()))];
    for (name, path) in
        CERTIFICATES.into_iter().zip([folder.certificate(), folder.root_certificate()])
    {
        let content = fs::read(disk, &path, MAX_CERTIFICATE)?;
        attachments.push((name, SecretBytes::from_vec(content)));
    }
    let attachments: Vec<_> =
        attachments.iter().map(|(name, content)| (*name, content.expose())).collect();
    let locked = file.locked();
    let protector = match key.filter(|_| locked) {
        Some(key) => {
            Protector::lock_record(&LockRecord::locked(file.kek_version().unwrap_or(0), key))
        }
        None => Protector::none(),
    };
    let at = |dir: &Path| Location::on(Arc::clone(fs), dir);
    let keyring = Keyring::create(at(new.path()), &identity, protector, &attachments)?;
    let store = Store::create(at(&new.path().join(LOG)), &keyring, Options::new(LOG))?;

    let mut writer = IntoStore::new(&store);
    let mut findings = Findings::default();
    let mut image = Image::default();
    gather_watched(disk, &folder, Some(&keys), &mut image, &mut writer, &mut findings)?;
    writer.flush();
    let (base, entries) = (writer.base, writer.entries);
    if let Some(error) = writer.failed {
        return Err(error);
    }
    let hard_state = raft.hard_state.unwrap_or_default();
    let mut last = Change::new();
    last.vote(&hard_state.encode()).put_meta(MEMBER, &member.encode());
    for (name, meta) in FILES {
        match fs::read(disk, &dir.join(name), MAX_FILE) {
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
    store.apply(last)?;
    let last_index = store.state().last.index;
    drop((store, keyring));
    new.finish()?;
    let objects = state.objects.counts();
    Ok(Migrated { objects, snapshot: base, entries, last_index, locked })
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

/// Makes a manager's folder of what [`export`] made, in `to`, which must not exist or be an empty
/// folder. dockerd starts from it. `from` is only opened, as every store is.
///
/// Snapshot and entries are sealed under a new DEK, and the key file is locked with the same unlock
/// key, or with none.
///
/// # Errors
///
/// [`Error::KeyRequired`], [`Error::WrongKey`]; those of opening a keyring and a store;
/// [`Error::Damaged`] if what they hold was not made by [`export`]; [`Error::Exists`] and
/// [`Error::Io`]. Nothing is at `to` then.
pub fn import(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    key: Option<&UnlockKey>,
) -> Result<Migrated> {
    import_in(&(Arc::new(RealFs) as Arc<dyn Fs>), from.as_ref(), to.as_ref(), key)
}

/// As [`import`], through a given file system.
///
/// # Errors
///
/// As for [`import`].
pub fn import_in(
    fs: &Arc<dyn Fs>,
    from: &Path,
    to: &Path,
    key: Option<&UnlockKey>,
) -> Result<Migrated> {
    let at = |dir: &Path| Location::on(Arc::clone(fs), dir);
    let facts = keyring::Inspection::read_in(&**fs, &at(from).file())?;
    let keyring = match Keyring::open(at(from), &facts.identity, LockPolicy::Any)? {
        Opened::Unlocked(keyring) => keyring,
        Opened::Locked(locked) => locked.unlock(key.ok_or(Error::KeyRequired)?)?,
    };
    let store = Store::open(at(&from.join(LOG)), &keyring, Options::new(LOG))?;
    let lost = |what| Error::damaged(what).in_file(from);
    let attachment =
        |name| keyring.attachment(name).ok_or_else(|| lost("an attachment of Swarm's is missing"));
    let member = store.meta(MEMBER).ok_or_else(|| lost("the node's raft member is missing"))?;
    RaftMember::parse(member.expose())?;

    let new = NewFolder::begin(&**fs, to)?;
    for name in CERTIFICATES {
        new.file(Path::new("certificates").join(name), attachment(name)?.expose())?;
    }
    for (name, meta) in FILES {
        if let Some(content) = store.meta(meta) {
            new.file(name, content.expose())?;
        }
    }
    let dek = random::key()?;
    let locked = facts.is_locked();
    let contents = Contents {
        tls_key: &*attachment(TLS_KEY)?,
        kek_version: facts.kek_version,
        current: Some(&dek),
        pending: None,
        needs_rotation: false,
    };
    let kek = key.filter(|_| locked);
    new.file("certificates/swarm-node.key", contents.encode(kek)?.expose())?;

    let mut image = Image::default();
    let mut log = Writer::create(&**fs, &new.folder().log(), member.expose(), SIZE)?;
    let mut migrated = Migrated { locked, ..Migrated::default() };
    if let Some(mut reader) = store.snapshot()? {
        let id = reader.info().at;
        let mut content = Vec::new();
        let read = reader.read_to_end(&mut content);
        let content = SecretBytes::from_vec(content);
        read.map_err(Error::Stream)?;
        image.load(content.expose(), &crate::error::Place::default(), &mut Findings::default());
        let voters = image.members.keys().copied().collect();
        let point = SnapshotPoint { index: id.index, term: id.era.get(), voters };
        log.snapshot(point.index, &point.encode_record(Members::Voters))?;
        new.snapshot(&point, &dek, content)?;
        (migrated.snapshot, migrated.last_index) = (Some(point.index), point.index);
    }
    store.read(.., |id, plain| {
        let entry = Entry::parse(plain).map_err(|error| error.at_index(id.index))?;
        if (entry.index, entry.term) != (id.index, id.era.get()) {
            return Err(lost("an entry that is not the one of its place").at_index(id.index));
        }
        let sealed = record::seal(Some(&dek), SecretBytes::from(entry.data))?;
        let mut bytes = entry.head(sealed.len());
        bytes.extend_from_slice(sealed.expose());
        migrated.entries += 1;
        migrated.last_index = id.index;
        log.entry(id.index, &bytes)
    })?;
    let hard_state = HardState::parse(&store.state().vote)?;
    if hard_state != HardState::default() {
        log.state(&hard_state.encode())?;
    }
    log.finish()?;
    new.finish()?;
    migrated.objects = State::read_in(&**fs, to, key)?.objects.counts();
    Ok(migrated)
}
