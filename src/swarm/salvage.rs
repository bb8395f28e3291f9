//! Saving what still opens into a new folder.

mod files;
mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use files::Files;
use read::{Opening, read_best};

use crate::crypto::random;
use crate::error::{Error, Result};
use crate::fs::{Fs, Lock, RealFs};
use crate::key::UnlockKey;
use crate::secret::SecretKey;
use crate::swarm::certificate;
use crate::swarm::finding::Finding;
use crate::swarm::folder::Folder;
use crate::swarm::image::Image;
use crate::swarm::key_file::{Contents, NodeKeys};
use crate::swarm::log::{HardState, RaftMember, SnapshotPoint};
use crate::swarm::new_folder::NewFolder;
use crate::swarm::objects::{ObjectKind, with_unlock_key};
use crate::swarm::record::{Cipher, Sealer};
use crate::swarm::state::{Gathered, PLAUSIBLE_LAG};

/// All that still opens of a manager's folder, ready to be written into a new one.
///
/// The new folder holds a snapshot of the whole state and a log that goes on from it: dockerd
/// starts from that, whatever is missing in the middle. The objects keep their bytes. The snapshot
/// is sealed under a new DEK, the key file locked with the same unlock key, the certificates and the
/// rest are copied. The raft index is beyond all that was ever seen, so that no version is given
/// twice.
///
/// ```no_run
/// use nodeseal::UnlockKey;
/// use nodeseal::swarm::Salvage;
///
/// let key = UnlockKey::from_text("SWMKEY-1-Lh2nIahpm1gNl17yUYIEjb90rMgvE9CS+rrp/d1nquo")?;
/// let salvage = Salvage::read("/var/lib/docker/swarm", Some(&key))?;
/// for finding in &salvage.report().findings {
///     eprintln!("{finding}");
/// }
/// salvage.write("/var/lib/docker/swarm-saved")?;
/// # Ok::<(), nodeseal::Error>(())
/// ```
#[derive(Debug)]
pub struct Salvage {
    report: SalvageReport,
    image: Image,
    keys: NodeKeys,
    kek: Option<SecretKey>,
    kek_version: u64,
    cipher: Cipher,
    metadata: Vec<u8>,
    point: SnapshotPoint,
    hard_state: HardState,
    dir: PathBuf,
    files: Files,
    /// On the old folder's log, until the new one is written.
    locks: Vec<Box<dyn Lock>>,
}

/// What is saved and what is lost.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SalvageReport {
    /// How many objects are saved, of each kind of which there are any.
    pub objects: BTreeMap<ObjectKind, usize>,
    /// Raft index that the new folder begins with.
    pub index: u64,
    /// What was found in the folder. [`Finding::loss`] says what is lost.
    pub findings: Vec<Finding>,
    /// What is made otherwise than it was, and what follows from what is lost, for people.
    pub notes: Vec<String>,
    /// Whether dockerd can start from the new folder: not without a certificate that fits the key.
    pub startable: bool,
}

impl SalvageReport {
    /// The findings that say that something is lost.
    pub fn losses(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.loss.is_some())
    }
}

impl Salvage {
    /// Reads what still opens in `dir`, the folder that holds `certificates` and `raft`. It is not
    /// changed.
    ///
    /// Where the key file cannot be used, has no DEK, or has one that opens less, one that a crash left
    /// beside it is taken, if it is whole and opens more.
    ///
    /// # Errors
    ///
    /// [`Error::KeyRequired`], [`Error::WrongKey`]; [`Error::Damaged`] if no key file can be used, or
    /// nothing opens; [`Error::Busy`] while a dockerd runs on the folder. [`Error::Missing`] and
    /// [`Error::Io`].
    pub fn read(dir: impl AsRef<Path>, key: Option<&UnlockKey>) -> Result<Self> {
        Self::read_in(&RealFs::default(), dir.as_ref(), key)
    }

    /// As [`Salvage::read`], through a given file system.
    ///
    /// # Errors
    ///
    /// As for [`Salvage::read`].
    pub fn read_in(fs: &dyn Fs, dir: &Path, key: Option<&UnlockKey>) -> Result<Self> {
        let folder = Folder::new(dir);
        let locks = folder.lock_to_read(fs)?;
        let mut notes = Vec::new();
        let opening = read_best(fs, dir, &folder, key)?;
        let Opening { keys, locked, kek_version, cipher, mut image, found, findings } = opening;
        if image.counts().is_empty() {
            return Err(Error::damaged("nothing opens that could be saved").in_file(dir));
        }
        let kek = key.filter(|_| locked);
        let mut salvage = Parts { fs, folder: &folder, found: &found, notes: &mut notes };
        let member = salvage.member(&image, &keys)?;
        let known = salvage.reach(&image);
        salvage.members(&mut image, &member);
        let kek_version = salvage.kek_version(kek_version, known);
        salvage.cluster(&mut image, kek, kek_version)?;
        for gone in image.drop_namesakes() {
            notes.push(format!("left out is {gone}"));
        }
        let (files, startable) = Files::find(fs, dir, &folder, &keys, &mut notes)?;

        let before = found.log.hard_state.unwrap_or_default();
        let last_term = found.log.entries.iter().filter(|entry| entry.live).map(|entry| entry.term);
        let points = found.snapshots.whole.iter().chain(&found.log.snapshots);
        let term = last_term.chain(points.map(|point| point.term)).max().unwrap_or(1);
        let term = term.max(before.term).max(1);
        let vote = if before.term == term { before.vote } else { 0 };
        let index = known.max(kek_version);
        let fips = image.parsed_cluster().is_ok_and(|cluster| cluster.facts.fips);
        let mandatory = if fips { Cipher::Fernet } else { Cipher::SecretBox };
        let cipher = mandatory.max(cipher).max(found.cipher());
        let hard_state = HardState { term, vote, commit: index };
        let point = SnapshotPoint { index, term, voters: image.members.keys().copied().collect() };
        let metadata = found.log.metadata.clone().unwrap_or_else(|| member.encode());
        let report = SalvageReport { objects: image.counts(), index, findings, notes, startable };
        let kek = kek.map(|key| SecretKey::init(|copy| *copy = *key.secret().expose()));
        let dir = dir.to_owned();
        Ok(Self {
            report,
            image,
            keys,
            kek,
            kek_version,
            cipher,
            metadata,
            point,
            hard_state,
            dir,
            files,
            locks,
        })
    }

    /// What is saved and what is lost.
    #[must_use]
    pub const fn report(&self) -> &SalvageReport {
        &self.report
    }

    /// Writes it to `to`, which must not exist or be an empty folder. It has its name only once all
    /// of it is durable.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], [`Error::Io`], [`Error::Random`]: nothing is at `to` then.
    pub fn write(self, to: impl AsRef<Path>) -> Result<SalvageReport> {
        self.write_in(&RealFs::default(), to.as_ref())
    }

    /// As [`Salvage::write`], through the file system that it was read from.
    ///
    /// # Errors
    ///
    /// As for [`Salvage::write`].
    pub fn write_in(self, fs: &dyn Fs, to: &Path) -> Result<SalvageReport> {
        let new = NewFolder::begin(fs, to)?;
        self.files.write(&self.dir, &new)?;
        let dek = random::key()?;
        let contents = Contents {
            tls_key: &self.keys.tls_key,
            kek_version: self.kek_version,
            current: Some(&dek),
            pending: None,
            needs_rotation: false,
            cipher: self.cipher,
        };
        let kek = self.kek.map(UnlockKey::from_key);
        new.file("certificates/swarm-node.key", contents.encode(kek.as_ref())?.expose())?;
        let content = self.image.into_snapshot();
        let with = Sealer { cipher: self.cipher, key: &dek };
        new.state(&self.metadata, &self.point, self.hard_state, with, content)?;
        new.finish()?;
        drop(self.locks);
        Ok(self.report)
    }
}

/// What the new folder is put together from.
struct Parts<'a> {
    fs: &'a dyn Fs,
    folder: &'a Folder,
    found: &'a Gathered,
    notes: &'a mut Vec<String>,
}

impl Parts<'_> {
    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Who the node is: by its log, else by the store and its certificate.
    fn member(&mut self, image: &Image, keys: &NodeKeys) -> Result<RaftMember> {
        if let Some(member) = &self.found.log.member {
            return Ok(member.clone());
        }
        let member = match certificate::of_key(self.fs, self.folder, Some(&keys.tls_key))? {
            Some(held) => image
                .members
                .values()
                .find(|member| certificate::contains(&held.der, member.node_id.as_bytes())),
            None => image.members.values().next().filter(|_| image.members.len() == 1),
        };
        let Some(member) = member else {
            return Err(Error::damaged("nothing says which member of the cluster the node was"));
        };
        self.note(format!("without a log, the node is taken for member {}", member.node_id));
        Ok(member.clone())
    }

    /// The greatest index that anything tells of.
    fn reach(&self, image: &Image) -> u64 {
        let Gathered { log, snapshots, base, commit, .. } = self.found;
        let named = log.snapshots.iter().map(|point| point.index);
        let entries = log.entries.iter().map(|entry| entry.index);
        let known = [*base, *commit, snapshots.reach(&[]), image.greatest_version(), 1];
        known.into_iter().chain(named).chain(entries).max().unwrap_or(1)
    }

    fn members(&mut self, image: &mut Image, member: &RaftMember) {
        if !image.members.contains_key(&member.raft_id) {
            let others = image.members.len();
            self.note(format!(
                "the store that is left does not know this node as a member: it is entered as one \
                 beside {others} others"
            ));
            image.members.insert(member.raft_id, member.clone());
        }
        if image.members.len() > 1 {
            self.note(format!(
                "the cluster has {} managers: if the others are alive, remove this one and let it \
                 join anew; from the new folder only a cluster of its own may be made \
                 (force-new-cluster), since what is lost is not lost to them",
                image.members.len()
            ));
        }
    }

    /// The unlock key's version, which nothing protects.
    fn kek_version(&mut self, version: u64, known: u64) -> u64 {
        if version <= known.saturating_add(PLAUSIBLE_LAG) {
            return version;
        }
        self.note(format!(
            "kek-version {version} was altered: with it Swarm would ignore every later unlock key; \
             it is set to {known}"
        ));
        known
    }

    /// The cluster's object must not name an older unlock key than the key file is locked with.
    fn cluster(
        &mut self,
        image: &mut Image,
        kek: Option<&UnlockKey>,
        kek_version: u64,
    ) -> Result<()> {
        let Ok(cluster) = image.parsed_cluster() else {
            self.note(
                "the cluster's object is lost, and with it the CA's private key: dockerd makes a \
                 new object, and autolock is off then; no certificate can be issued or renewed: \
                 move the secrets to a new cluster",
            );
            return Ok(());
        };
        let same = cluster.unlock_key().zip(kek).is_some_and(|(store, file)| store.ct_eq(file));
        if let Some(kek) = kek.filter(|_| !same && cluster.facts.meta.version <= kek_version) {
            self.note(
                "the entry that set the unlock key is lost: the store is told the key that the key \
                 file is locked with",
            );
            let object = with_unlock_key(image.cluster()?.expose(), kek_version, Some(kek))?;
            image.set_cluster(object)?;
        }
        Ok(())
    }
}
