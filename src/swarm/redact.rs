//! A copy of a manager's folder for others to look at.

mod fields;

use std::path::Path;

use crate::crypto::random;
use crate::error::{Error, Result};
use crate::fs::{self, Fs, RealFs};
use crate::key::UnlockKey;
use crate::secret::{SecretBytes, SecretKey};
use crate::swarm::certificate::{self, MAX_CERTIFICATE};
use crate::swarm::ec_key;
use crate::swarm::finding::Finding;
use crate::swarm::folder::Folder;
use crate::swarm::inspect::inspect_in;
use crate::swarm::key_file::Contents;
use crate::swarm::log::{Entry, EntryKind, Keys};
use crate::swarm::new_folder::{NewFolder, check_free};
use crate::swarm::record::{self, Cipher, Sealer};
use crate::swarm::snapshot;
use crate::swarm::state::read_key_file;
use crate::wal::etcd::Draft;
use crate::wal::{self, Kind, Segment, SegmentReader, Step};

/// The file that says what was found before it was redacted.
const NOTES: &str = "redacted.txt";
/// The longest of the other files that are copied, in bytes.
const MAX_FILE: usize = 1 << 20;

/// What [`redact`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Redacted {
    /// How many entries and snapshots were opened, redacted and sealed again.
    pub redacted: u64,
    /// How many could not be opened or read: what was sealed in them is random bytes in the copy.
    pub replaced: u64,
    /// How many damaged places of the log were left out.
    pub left_out: u64,
    /// What was found in the folder itself; it also stands in the copy's `redacted.txt`.
    pub findings: Vec<Finding>,
}

/// Copies `dir`, the folder of a manager that is stopped, to `to` without payloads and keys. `to`
/// must not exist or be an empty folder. `dir` is not changed.
///
/// The copy is a folder that this crate reads as any other: unlocked, sealed under a throw-away DEK
/// that stands in its key file. Log, indices, terms, snapshots, names, labels, versions, times,
/// references and states are as they were, so that findings and lists are the same. Payloads of
/// secrets and configs, unlock keys, network keys, the CA's key and join tokens are zeros of the
/// same length; the TLS key is another. Of services and tasks only image, user, references and
/// states stay: no environment, commands, mounts, labels of containers. Fields that this version
/// does not know are left out. What does not open becomes random bytes, and damaged places of the
/// log are left out; what was found before stands in the copy's `redacted.txt`.
///
/// # Security
///
/// Names and labels of objects, host names and addresses stay. `worker/tasks.db`, which holds the
/// environment of tasks, is not copied.
///
/// # Errors
///
/// [`Error::KeyRequired`], [`Error::WrongKey`], [`Error::Damaged`] for the key file;
/// [`Error::Exists`]; [`Error::Busy`] while a dockerd runs on the folder; [`Error::Missing`] and
/// [`Error::Io`]. Nothing is at `to` then.
pub fn redact(
    dir: impl AsRef<Path>,
    to: impl AsRef<Path>,
    key: Option<&UnlockKey>,
) -> Result<Redacted> {
    redact_in(&RealFs::default(), dir.as_ref(), to.as_ref(), key)
}

/// As [`redact`], through a given file system.
///
/// # Errors
///
/// As for [`redact`].
pub fn redact_in(fs: &dyn Fs, dir: &Path, to: &Path, key: Option<&UnlockKey>) -> Result<Redacted> {
    let _locks = Folder::new(dir).lock_to_read(fs)?;
    let new = NewFolder::begin(fs, to)?;
    let report = copy(fs, dir, key, Some(&new))?;
    new.finish()?;
    Ok(report)
}

/// What [`redact`] would do. Nothing is written.
///
/// # Errors
///
/// As for [`redact`].
pub fn plan_redact(
    dir: impl AsRef<Path>,
    to: impl AsRef<Path>,
    key: Option<&UnlockKey>,
) -> Result<Redacted> {
    plan_redact_in(&RealFs::default(), dir.as_ref(), to.as_ref(), key)
}

/// As [`plan_redact`], through a given file system.
///
/// # Errors
///
/// As for [`redact`].
pub fn plan_redact_in(
    fs: &dyn Fs,
    dir: &Path,
    to: &Path,
    key: Option<&UnlockKey>,
) -> Result<Redacted> {
    let _locks = Folder::new(dir).lock_to_read(fs)?;
    check_free(fs, to)?;
    copy(fs, dir, key, None)
}

/// Copies to `new`, or nowhere.
fn copy(
    fs: &dyn Fs,
    dir: &Path,
    key: Option<&UnlockKey>,
    new: Option<&NewFolder<'_>>,
) -> Result<Redacted> {
    let folder = Folder::new(dir);
    let path = folder.key_file();
    let file = read_key_file(fs, &path)?;
    let keys = file.unlock(key).map_err(|error| error.in_file(&path))?;
    let found = inspect_in(fs, dir, key)?;
    let dek = random::key()?;
    let mut copy = Copy {
        fs,
        new,
        keys: Keys { pending: keys.pending.as_ref(), current: keys.current.as_ref() },
        dek: &dek,
        report: Redacted { findings: found.findings, ..Redacted::default() },
    };
    copy.key_file(file.kek_version(), &keys.tls_key)?;
    copy.files(dir, &folder, &keys.tls_key)?;
    for facts in &found.raft.snapshots {
        copy.snapshot(&folder.snapshots().join(&facts.name))?;
    }
    if !found.raft.segments.is_empty() {
        let log = new.map(|new| new.folder().log());
        if let Some(log) = &log {
            fs.create_dir(log).map_err(|e| Error::io("create", log, e))?;
        }
        let mut chain = 0;
        for segment in &wal::list(fs, &folder.log())?.0 {
            chain = copy.segment(segment, log.as_deref(), chain)?;
        }
    }
    Ok(copy.report)
}

struct Copy<'a> {
    fs: &'a dyn Fs,
    /// `None`: it is only counted what would be written.
    new: Option<&'a NewFolder<'a>>,
    keys: Keys<'a>,
    dek: &'a SecretKey,
    report: Redacted,
}

impl Copy<'_> {
    fn key_file(&self, kek_version: Option<u64>, tls_key: &SecretBytes) -> Result<()> {
        // Another scalar, the public point as it was: it is in the certificate.
        let mut other = ec_key::to_pkcs8(tls_key)?;
        let scalar = ec_key::scalar(other.expose()).ok_or_else(|| Error::damaged("the TLS key"))?;
        if let Some(scalar) = other.expose_mut().get_mut(scalar) {
            scalar.fill(0);
        }
        let contents = Contents {
            tls_key: &other,
            kek_version: kek_version.unwrap_or(0),
            current: Some(self.dek),
            pending: None,
            needs_rotation: false,
            cipher: Cipher::SecretBox,
        };
        self.file(Path::new("certificates/swarm-node.key"), contents.encode(None)?.expose())
    }

    /// Whatever the folder was sealed with.
    fn sealer(&self) -> Sealer<'_> {
        Sealer { cipher: Cipher::SecretBox, key: self.dek }
    }

    fn file(&self, name: &Path, content: &[u8]) -> Result<()> {
        self.new.map_or(Ok(()), |new| new.file(name, content))
    }

    /// Certificates, addresses, and what was found.
    fn files(&self, dir: &Path, folder: &Folder, tls_key: &SecretBytes) -> Result<()> {
        let held = certificate::of_key(self.fs, folder, Some(tls_key))?;
        let certificates =
            [folder.certificate(), folder.root_certificate()].map(|path| (path, MAX_CERTIFICATE));
        let states = ["docker-state.json", "state.json"].map(|name| (dir.join(name), MAX_FILE));
        for (path, limit) in certificates.into_iter().chain(states) {
            let name = path.strip_prefix(dir).unwrap_or(&path);
            if let Some(held) = held.as_ref().filter(|_| path == folder.certificate()) {
                self.file(name, &held.text)?;
                continue;
            }
            match fs::read(self.fs, &path, limit) {
                Ok(content) => self.file(name, &content)?,
                Err(Error::Missing(_) | Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut notes = String::from("Found in the folder before it was redacted:\n");
        for finding in &self.report.findings {
            notes.push_str(&finding.to_string());
            notes.push('\n');
        }
        self.file(Path::new(NOTES), notes.as_bytes())
    }

    fn snapshot(&mut self, path: &Path) -> Result<()> {
        let Some((content, point)) = snapshot::open_file(self.fs, path, self.keys)? else {
            self.report.replaced += 1;
            return Ok(());
        };
        let redacted = fields::redacted(content.expose(), fields::SNAPSHOT);
        drop(content);
        let Ok(redacted) = redacted else {
            self.report.replaced += 1;
            return Ok(());
        };
        self.report.redacted += 1;
        self.new.map_or(Ok(()), |new| new.snapshot(&point, self.sealer(), redacted))
    }

    /// Copies a segment's records into the folder `log`; gives the chain behind them.
    fn segment(&mut self, segment: &Segment, log: Option<&Path>, chain: u32) -> Result<u32> {
        let path = segment.path.as_path();
        let file = self.fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
        let mut reader = SegmentReader::new(&*file, path, true, None)?;
        // Nothing before the metadata; then the segment, or none where none is to be written.
        let mut draft: Option<Option<Draft<'_>>> = None;
        while let Some(step) = reader.next()? {
            let record = match step {
                Step::Record(record) => record,
                Step::Damage { .. } => {
                    self.report.left_out += 1;
                    continue;
                }
                Step::ChainBroken { .. } | Step::End { .. } => continue,
            };
            let data = reader.data();
            match (record.kind, &mut draft) {
                (Kind::Crc, _) => {}
                (Kind::Metadata, None) => {
                    let begin = |log| Draft::begin(self.fs, log, segment.name, chain, data, 0);
                    draft = Some(log.map(begin).transpose()?);
                }
                // What stands before the metadata belongs to no segment of Swarm's.
                (_, None) => self.report.left_out += 1,
                (Kind::Entry, Some(draft)) => match Entry::parse(data) {
                    Ok(entry) => {
                        let sealed = self.entry(&entry)?;
                        if let Some(draft) = draft {
                            let head = entry.head(sealed.len());
                            draft.put(Kind::Entry, &[&head, sealed.expose()])?;
                        }
                    }
                    Err(_) => self.report.left_out += 1,
                },
                (kind @ (Kind::Metadata | Kind::State | Kind::Snapshot), Some(draft)) => {
                    draft.as_mut().map_or(Ok(()), |draft| draft.put(kind, &[data]))?;
                }
                (Kind::Own(_) | Kind::Other(_), Some(_)) => self.report.left_out += 1,
            }
        }
        let Some(mut draft) = draft.flatten() else { return Ok(chain) };
        draft.sync()?;
        let chain = draft.chain();
        draft.publish()?;
        Ok(chain)
    }

    /// An entry's content, redacted and sealed again.
    fn entry(&mut self, entry: &Entry<'_>) -> Result<SecretBytes> {
        let schema = match entry.kind {
            EntryKind::Normal => Some(fields::REQUEST),
            EntryKind::Membership => Some(fields::MEMBERSHIP),
            EntryKind::Other(_) => None,
        };
        let opened = self.keys.open(entry.data).ok();
        let redacted = opened
            .zip(schema)
            .and_then(|((content, _), schema)| fields::redacted(content.expose(), schema).ok());
        match redacted {
            Some(content) => {
                self.report.redacted += 1;
                record::seal(Some(self.sealer()), content)
            }
            // It does not open in the copy either.
            None => {
                self.report.replaced += 1;
                let len = entry.data.len().saturating_sub(46);
                let mut filler = SecretBytes::new();
                filler.resize(len);
                let key = random::key()?;
                record::seal(Some(Sealer { key: &key, ..self.sealer() }), filler)
            }
        }
    }
}
