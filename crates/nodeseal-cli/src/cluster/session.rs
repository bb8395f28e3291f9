//! The embedded single-node store: a sealed log of commands, and the cluster that they make.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nodeseal::audit::{Anchor, AuditKey, Event, FileSink, Sink};
use nodeseal::cluster::{Cluster, Command, Outcome, Request};
use nodeseal::fs::{Fs, RealFs};
use nodeseal::grant::Time;
use nodeseal::keyring::Inspection;
use nodeseal::seal::{Era, LogId};
use nodeseal::secret::SecretBytes;
use nodeseal::store::{Change, Options};
use nodeseal::{
    ErrorKind, Identity, Keyring, LockPolicy, Misuse, Opened, Protector, Store, UnlockKey,
};

use super::args::{Data, Init};
use super::attempts::Attempts;
use crate::fail::{Failure, Result};
use crate::stdio;

const LOG: &str = "cluster";
const AUDIT_KEY: &str = "audit-key";
const AUDIT_ANCHOR: &str = "audit-anchor";
/// Entries after which the log is replaced by a snapshot.
const ENTRIES: u64 = 1000;

pub(super) struct Session {
    pub(super) cluster: Cluster,
    store: Store,
    audit: Arc<FileSink>,
    by: String,
    /// Whether the audit file's end is to be noted.
    noted: Option<Anchor>,
}

/// The files in a data folder.
struct Files {
    keys: PathBuf,
    log: PathBuf,
    audit: PathBuf,
}

impl Files {
    fn of(dir: &Path) -> Self {
        Self { keys: dir.join("keys"), log: dir.join("log"), audit: dir.join("audit.log") }
    }
}

/// Makes a data folder; gives the unlock key if it is locked.
pub(super) fn create(init: &Init) -> Result<Option<UnlockKey>> {
    let dir = &init.data_dir;
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(nodeseal::Error::Exists(dir.clone()).into());
    }
    let files = Files::of(dir);
    let me = Identity::new(&init.cluster, &init.node)?;
    let key = init.autolock.then(UnlockKey::generate).transpose()?;
    let protector = key.as_ref().map_or_else(Protector::none, Protector::unlock_key);
    let keyring = Keyring::create(&files.keys, &me, protector, &[])?;
    let store = Store::create(&files.log, &keyring, Options::new(LOG))?;
    let audit_key = AuditKey::generate()?;
    let mut change = Change::new();
    change.put_meta(AUDIT_KEY, audit_key.expose());
    store.apply(change)?;
    let audit = Arc::new(FileSink::create(&files.audit, &audit_key)?);
    let mut session = Session { cluster: Cluster::new(), store, audit, by: whoever(), noted: None };
    let first = session.cluster.new_payload_key(false)?;
    session.propose(first)?;
    session.close()?;
    Ok(key)
}

impl Session {
    /// Opens a data folder, and does again what its log says.
    pub(super) fn open(data: &Data) -> Result<Self> {
        let files = Files::of(&data.data_dir);
        let (store, unlocks) = open_store(data, &files)?;
        let key = audit_key(&store)?;
        let noted = store.meta(AUDIT_ANCHOR);
        let noted = noted.map(|bytes| Anchor::from_bytes(bytes.expose())).transpose()?;
        let audit = FileSink::open(&files.audit, &key, noted.as_ref()).map_err(|error| {
            let lost = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Missing);
            if lost { Failure::Audit(error) } else { error.into() }
        })?;
        Self::begin(data, store, audit, noted, &unlocks)
    }

    /// As [`Session::open`], with a new audit file in the place of one that is put aside.
    pub(super) fn restart_audit(data: &Data) -> Result<(Self, PathBuf)> {
        let files = Files::of(&data.data_dir);
        let (store, unlocks) = open_store(data, &files)?;
        let key = audit_key(&store)?;
        let aside = format!("audit.log.{}", Time::now().seconds());
        let aside = data.data_dir.join(aside);
        let fs = RealFs::default();
        for suffix in ["", ".end"] {
            let named = |path: &Path| {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                PathBuf::from(name)
            };
            let from = named(&files.audit);
            match fs.rename(&from, &named(&aside)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Failure::Io(from, e));
                }
                _ => {}
            }
        }
        fs.sync_dir(&data.data_dir).map_err(Failure::io(&data.data_dir))?;
        let mut change = Change::new();
        change.remove_meta(AUDIT_ANCHOR);
        store.apply(change)?;
        let audit = FileSink::create(&files.audit, &key)?;
        Ok((Self::begin(data, store, audit, None, &unlocks)?, aside))
    }

    fn begin(
        data: &Data,
        store: Store,
        audit: FileSink,
        noted: Option<Anchor>,
        unlocks: &[Event],
    ) -> Result<Self> {
        let attempts = Attempts::of(&data.data_dir);
        audit.record_all(attempts.read()?.iter().chain(unlocks))?;
        attempts.forget()?;
        let mut cluster = Cluster::new();
        if let Some(mut snapshot) = store.snapshot()? {
            let mut bytes = SecretBytes::new();
            std::io::copy(&mut (&mut snapshot as &mut dyn Read), &mut bytes)
                .map_err(Failure::io(Path::new("the snapshot")))?;
            cluster = Cluster::decode(bytes.expose())?;
        }
        // What a process that was killed did not tell the audit file any more.
        let told = audit.last_index();
        let mut untold = Vec::new();
        store.read(cluster.applied() + 1.., |id, entry| {
            let outcome = cluster.apply(id.index, Command::decode(entry)?);
            let missing = |event: &Event| event.index > told;
            untold.extend(outcome.events.into_iter().filter(missing));
            Ok::<(), nodeseal::Error>(())
        })?;
        audit.record_all(&untold)?;
        Ok(Self { cluster, store, audit: Arc::new(audit), by: whoever(), noted })
    }

    /// Writes a request down, does it, and tells the audit file. One that is refused is an error.
    pub(super) fn propose(&mut self, request: Request) -> Result<Outcome> {
        let command = Command { at: Time::now(), by: self.by.clone(), request };
        let id = LogId::new(self.store.state().last.index + 1, Era::term(1));
        let mut change = Change::new();
        let bytes = command.encode();
        change.push(id, |out| out.extend_from_slice(bytes.expose()))?;
        change.committed(id);
        self.store.apply(change)?;
        let outcome = self.cluster.apply(id.index, command);
        self.audit.record_all(&outcome.events)?;
        match outcome.result {
            Ok(()) => Ok(outcome),
            Err(refusal) => Err(Failure::Refused(refusal.to_string())),
        }
    }

    /// What tells the audit file of more.
    pub(super) fn audit(&self) -> Arc<FileSink> {
        Arc::clone(&self.audit)
    }

    pub(super) fn by(&self) -> &str {
        &self.by
    }

    /// Notes in the store how far the audit file has come, and compacts a long log.
    pub(super) fn close(self) -> Result<()> {
        let anchor = self.audit.anchor();
        let mut change = Change::new();
        if self.noted.as_ref() != Some(&anchor) {
            change.put_meta(AUDIT_ANCHOR, &anchor.to_bytes());
        }
        let state = self.store.state();
        if state.last.index.saturating_sub(state.purged.index) < ENTRIES {
            self.store.apply(change)?;
            return Ok(());
        }
        let mut snapshot = self.store.write_snapshot()?;
        let bytes = self.cluster.encode();
        snapshot.write_all(bytes.expose()).map_err(Failure::io(Path::new("the snapshot")))?;
        change.purge(state.last);
        Ok(self.store.install(snapshot.finish(state.last, b"")?, change)?)
    }
}

/// Opens the keys and the log; what is to be told of it has no file yet.
fn open_store(data: &Data, files: &Files) -> Result<(Store, Vec<Event>)> {
    let identity = Inspection::read(files.keys.join("node.keys"))?.identity;
    // Who has an unlock key expects a locked file.
    let policy = if data.unlock_key_file.is_some() { LockPolicy::Locked } else { LockPolicy::Any };
    let unlocks = Arc::new(Pending::default());
    let keyring = match Keyring::open(&files.keys, &identity, policy)? {
        Opened::Unlocked(keyring) => keyring,
        Opened::Locked(locked) => {
            let file = data.unlock_key_file.as_deref().ok_or(nodeseal::Error::KeyRequired)?;
            let key = stdio::unlock_key(file)?;
            let locked = locked.audited(Arc::clone(&unlocks) as Arc<dyn Sink>);
            // The locked keyring comes back with the error and keeps others out until it is noted.
            locked.unlock(&key).map_err(|failed| {
                if let Err(failure) = Attempts::of(&data.data_dir).note(&unlocks.take()) {
                    eprintln!("nodeseal: the failed unlock is not noted: {failure}");
                }
                failed.error
            })?
        }
    };
    let store = Store::open(&files.log, &keyring, Options::new(LOG))?;
    Ok((store, unlocks.take()))
}

fn audit_key(store: &Store) -> Result<AuditKey> {
    let key = store
        .meta(AUDIT_KEY)
        .ok_or_else(|| nodeseal::Error::from(Misuse::State("init did not come to its end")))?;
    Ok(AuditKey::from_bytes(key.expose())?)
}

/// Keeps the events of unlocking until the audit file, whose key is behind the lock, is open.
#[derive(Default)]
struct Pending(Mutex<Vec<Event>>);

impl Pending {
    fn take(&self) -> Vec<Event> {
        core::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink for Pending {
    fn record(&self, event: &Event) -> nodeseal::Result<()> {
        let mut event = event.clone();
        event.by = whoever();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        Ok(())
    }
}

/// Who runs the command, for the audit file.
fn whoever() -> String {
    fs::metadata("/proc/self").map_or_else(|_| String::new(), |me| format!("uid {}", me.uid()))
}
