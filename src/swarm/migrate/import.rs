//! A native keyring and store as a manager's folder.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::{CERTIFICATES, CIPHER, FERNET, FILES, LOG, MEMBER, Migrated, TLS_KEY};
use crate::crypto::random;
use crate::error::{Error, Place, Result};
use crate::fs::{Fs, RealFs};
use crate::key::UnlockKey;
use crate::keyring::{self, Keyring, Location, LockPolicy, Opened};
use crate::seal::LogId;
use crate::secret::{SecretBytes, SecretKey};
use crate::store::{Options, Store};
use crate::swarm::finding::{Findings, Loss};
use crate::swarm::key_file::Contents;
use crate::swarm::log::{Entry, EntryKind, HardState, Members, RaftMember, SnapshotPoint};
use crate::swarm::new_folder::{NewFolder, SIZE, check_free};
use crate::swarm::record::{self, Cipher, Sealer};
use crate::swarm::replay::{Objects, Replay};
use crate::swarm::state::State;
use crate::wal::etcd::Writer;

/// Makes a manager's folder of what [`export`](super::export()) made, in `to`, which must not exist or be an empty
/// folder. dockerd starts from it. `from` is opened read-only.
///
/// Snapshot and entries are sealed under a new DEK, and the key file is locked with the same unlock
/// key, or with none.
///
/// # Errors
///
/// [`Error::KeyRequired`], [`Error::WrongKey`]; those of opening a keyring and a store;
/// [`Error::Damaged`] if what they hold was not made by [`export`](super::export()); [`Error::Exists`] and
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
    check_free(&**fs, to)?;
    Native::open(Arc::clone(fs), from, key)?.write(&**fs, to, key)
}

/// What [`import`] would carry over. Nothing is written, to `from` neither.
///
/// # Errors
///
/// As for [`import`].
pub fn plan_import(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    key: Option<&UnlockKey>,
) -> Result<Migrated> {
    plan_import_in(&(Arc::new(RealFs) as Arc<dyn Fs>), from.as_ref(), to.as_ref(), key)
}

/// As [`plan_import`], through a given file system.
///
/// # Errors
///
/// As for [`import`].
pub fn plan_import_in(
    fs: &Arc<dyn Fs>,
    from: &Path,
    to: &Path,
    key: Option<&UnlockKey>,
) -> Result<Migrated> {
    check_free(&**fs, to)?;
    Native::open(Arc::clone(fs), from, key)?.plan()
}

/// What `export` made, opened.
struct Native<'a> {
    from: &'a Path,
    facts: keyring::Inspection,
    keyring: Keyring,
    store: Store,
    member: RaftMember,
    hard_state: HardState,
    cipher: Cipher,
}

impl<'a> Native<'a> {
    fn open(fs: Arc<dyn Fs>, from: &'a Path, key: Option<&UnlockKey>) -> Result<Self> {
        let at = |dir: &Path| Location::on(Arc::clone(&fs), dir);
        let facts = keyring::Inspection::read_in(&*fs, &at(from).file())?;
        let keyring = match Keyring::open_read_only(at(from), &facts.identity, LockPolicy::Any)? {
            Opened::Unlocked(keyring) => keyring,
            Opened::Locked(locked) => locked.unlock(key.ok_or(Error::KeyRequired)?)?,
        };
        let options = Options::new(LOG).read_only();
        let store = Store::open(at(&from.join(LOG)), &keyring, options)?;
        let lost = || Error::damaged("the node's raft member is missing").in_file(from);
        let member = RaftMember::parse(store.meta(MEMBER).ok_or_else(lost)?.expose())?;
        let hard_state = HardState::parse(&store.state().vote)?;
        let cipher = match store.meta(CIPHER) {
            None => Cipher::SecretBox,
            Some(name) if name.expose() == FERNET => Cipher::Fernet,
            Some(_) => return Err(Error::damaged("an unknown cipher").in_file(from)),
        };
        Ok(Self { from, facts, keyring, store, member, hard_state, cipher })
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::damaged(what).in_file(self.from)
    }

    /// The snapshot, and the last entry that it covers.
    fn snapshot(&self) -> Result<Option<(LogId, SecretBytes)>> {
        let Some(mut reader) = self.store.snapshot()? else { return Ok(None) };
        let (at, len) = (reader.info().at, usize::try_from(reader.info().len));
        let mut content = SecretBytes::new();
        content.resize(len.map_err(|_| Error::OutOfMemory)?);
        reader.read_exact(content.expose_mut()).map_err(Error::Stream)?;
        Ok(Some((at, content)))
    }

    /// Shows the entries in their order.
    fn entries(&self, mut show: impl FnMut(&Entry<'_>) -> Result<()>) -> Result<()> {
        self.store.read(.., |id, plain| {
            let entry = Entry::parse(plain).map_err(|error| error.at_index(id.index))?;
            if (entry.index, entry.term) != (id.index, id.era.get()) {
                let what = "an entry that is not the one of its place";
                return Err(self.damaged(what).at_index(id.index));
            }
            show(&entry)
        })
    }

    fn plan(&self) -> Result<Migrated> {
        let mut migrated = Migrated { locked: self.facts.is_locked(), ..Migrated::default() };
        let (mut objects, mut findings) = (Objects::default(), Findings::default());
        let place = Place { file: Some(self.from.to_owned()), ..Place::default() };
        if let Some((at, content)) = self.snapshot()? {
            objects.load(content.expose(), &place, &mut findings);
            (migrated.snapshot, migrated.last_index) = (Some(at.index), at.index);
        }
        let commit = self.hard_state.commit.max(migrated.last_index);
        let mut alone = None;
        self.entries(|entry| {
            migrated.entries += 1;
            migrated.last_index = entry.index;
            // As dockerd does at its start: who was alone at the commit index commits what follows.
            let is_alone = || objects.is_sole_member(self.member.raft_id);
            if entry.index <= commit || *alone.get_or_insert_with(is_alone) {
                match entry.kind {
                    EntryKind::Normal => objects.apply(entry.data, &place, &mut findings),
                    EntryKind::Membership => {
                        objects.apply_membership(entry.data, &place, &mut findings);
                    }
                    EntryKind::Other(_) => {}
                }
            }
            Ok(())
        })?;
        if findings.finish().iter().any(|finding| finding.loss == Some(Loss::Content)) {
            return Err(self.damaged("an object or a change that cannot be read"));
        }
        migrated.objects = objects.counts();
        Ok(migrated)
    }

    fn write(&self, fs: &dyn Fs, to: &Path, key: Option<&UnlockKey>) -> Result<Migrated> {
        let new = NewFolder::begin(fs, to)?;
        let dek = random::key()?;
        let with = Sealer { cipher: self.cipher, key: &dek };
        self.files(&new, &dek, key)?;
        let mut migrated = Migrated { locked: self.facts.is_locked(), ..Migrated::default() };
        let mut log = Writer::create(fs, &new.folder().log(), &self.member.encode(), SIZE)?;
        if let Some((at, content)) = self.snapshot()? {
            let point = SnapshotPoint {
                index: at.index,
                term: at.era.get(),
                voters: voters(content.expose()),
            };
            log.snapshot(point.index, &point.encode_record(Members::Voters))?;
            new.snapshot(&point, with, content)?;
            (migrated.snapshot, migrated.last_index) = (Some(point.index), point.index);
        }
        self.entries(|entry| {
            let sealed = record::seal(Some(with), SecretBytes::from(entry.data))?;
            let mut bytes = entry.head(sealed.len());
            bytes.extend_from_slice(sealed.expose());
            migrated.entries += 1;
            migrated.last_index = entry.index;
            log.entry(entry.index, &bytes)
        })?;
        if self.hard_state != HardState::default() {
            log.state(&self.hard_state.encode())?;
        }
        log.finish()?;
        // Before it has its name.
        let state = State::read_in(fs, new.path(), key)?;
        if !state.is_complete() {
            return Err(self.damaged("what it holds is not a manager's whole state"));
        }
        new.finish()?;
        migrated.objects = state.objects.counts();
        Ok(migrated)
    }

    /// Key file, certificates, and Docker's own files.
    fn files(&self, new: &NewFolder<'_>, dek: &SecretKey, key: Option<&UnlockKey>) -> Result<()> {
        let attachment = |name| {
            let found = self.keyring.attachment(name);
            found.ok_or_else(|| self.damaged("an attachment of Swarm's is missing"))
        };
        for name in CERTIFICATES {
            new.file(Path::new("certificates").join(name), attachment(name)?.expose())?;
        }
        for (name, meta) in FILES {
            if let Some(content) = self.store.meta(meta) {
                new.file(name, content.expose())?;
            }
        }
        let contents = Contents {
            tls_key: &*attachment(TLS_KEY)?,
            kek_version: self.facts.kek_version,
            current: Some(dek),
            pending: None,
            needs_rotation: false,
            cipher: self.cipher,
        };
        let kek = key.filter(|_| self.facts.is_locked());
        new.file("certificates/swarm-node.key", contents.encode(kek)?.expose())
    }
}

/// The members of the raft group in a snapshot.
fn voters(content: &[u8]) -> Vec<u64> {
    let mut objects = Objects::default();
    objects.load(content, &Place::default(), &mut Findings::default());
    objects.members.into_keys().collect()
}
