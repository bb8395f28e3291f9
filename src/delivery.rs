//! Secrets on a node: kept in memory, laid out as files for each task, taken away again. Linux only.
//!
//! [`Assigned`] takes what the cluster assigns to the node and shows each task only what it was
//! granted. [`Deliveries`] is a folder below which every task has a tmpfs of its own: limited in size,
//! never swapped where the kernel takes `noswap` (6.4 and newer, not within a user namespace),
//! read-only, without devices, set-user-id and programs; one file for each grant with its own owner
//! and mode. What of this does not hold is told by [`Delivery::report`].
//!
//! A [`Delivery`] holds the files as long as it lives: dropping it overwrites and unmounts them. A
//! node's daemon that ends while its tasks go on [detaches](Delivery::detach) them, and the next one
//! [recovers](Deliveries::recover) them. So does one after a daemon that was killed: a tmpfs gets its
//! name only when it is filled, so nothing half done is found.
//!
//! A task's runtime binds [`Delivery::path`] to `/run/secrets`. A new version of a secret replaces its
//! file with one rename: who reads it finds the old or the new one, whole. What is bound file by file
//! stays with the old one.
//!
//! Mounting needs Linux 5.2, `/proc`, and `CAP_SYS_ADMIN` in the user namespace that owns the mount
//! namespace; owners other than the process's own need `CAP_CHOWN`. Without them
//! [`Options::in_place`] lays files out in a folder that is memory-backed already.
//!
//! ```no_run
//! use nodeseal::delivery::{Assigned, Deliveries, Options};
//! use nodeseal::grant::{Assignment, NodeId};
//!
//! # fn on_a_node(received: Assignment) -> nodeseal::Result<()> {
//! let mut assigned = Assigned::new(NodeId::new("w1")?);
//! let folder = Deliveries::open("/run/prod/secrets", Options::new())?;
//!
//! let changed = assigned.take(received)?;
//! for task in &changed.tasks {
//!     let Some(secrets) = assigned.task(task) else { continue };
//!     let delivery = folder.deliver(&secrets)?;
//!     println!("bind {} to /run/secrets", delivery.path().display());
//!     for missing in delivery.report().missing() {
//!         println!("{missing}");
//!     }
//!     delivery.release()?; // once the task has ended
//! }
//! # Ok(())
//! # }
//! # fn main() {}
//! ```
//!
//! # Security
//!
//! Payloads are wiped from memory when they are released, and files are overwritten before they are
//! removed. The one exception is a version that another one replaced: who has its file open reads on,
//! and its pages go back to the kernel as they are. Nothing is passed through environment variables.
//! Whoever may enter the node's mount namespace as root reads every file.

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::{Action, Event, Sink};
use crate::error::{Error, Misuse, Result};
use crate::grant::{Grant, NodeId, Target, TaskId, Time};

mod assigned;
mod folder;
mod mount;
mod mountinfo;
mod options;
mod recover;
mod report;
mod tree;

pub use assigned::{Assigned, Changed, TaskSecrets};
pub use options::Options;
pub use recover::Recovered;
pub use report::{Missing, Report};

use folder::{Folder, Place};
use tree::Item;

/// A folder below which tasks have their files.
///
/// Clones are handles on the same folder. Its lock is released when the last of them, and of the
/// deliveries made from them, is dropped. A process that is forked later changes nothing in it
/// ([`Misuse::Forked`]), also when it drops a [`Delivery`].
#[derive(Clone)]
pub struct Deliveries {
    inner: Arc<Inner>,
}

struct Inner {
    folder: Folder,
    audit: Option<Arc<dyn Sink>>,
}

impl Deliveries {
    /// Opens a folder of deliveries, or makes a new one (0700). Call [`Deliveries::recover`] next.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if another has it open; [`Misuse::State`] if it is open to other users, or
    /// holds something else; [`Error::NotInMemory`] with [`Options::in_place`]; [`Error::Io`].
    pub fn open(dir: impl Into<PathBuf>, options: Options) -> Result<Self> {
        Self::with(dir.into(), options, None)
    }

    /// As [`Deliveries::open`], and reports to `sink`: [`Action::Delivered`] for each file before it
    /// is put in place, [`Action::Withdrawn`] after it was taken away, [`Action::Refused`] for what
    /// failed. What cannot be recorded is not delivered.
    ///
    /// # Errors
    ///
    /// As [`Deliveries::open`].
    pub fn open_audited(
        dir: impl Into<PathBuf>,
        options: Options,
        sink: Arc<dyn Sink>,
    ) -> Result<Self> {
        Self::with(dir.into(), options, Some(sink))
    }

    fn with(dir: PathBuf, options: Options, audit: Option<Arc<dyn Sink>>) -> Result<Self> {
        let folder = Folder::open(dir, options)?;
        Ok(Self { inner: Arc::new(Inner { folder, audit }) })
    }

    /// Lays out everything that a task was granted. After an error nothing of it is left.
    ///
    /// # Errors
    ///
    /// [`Error::NotAssigned`] if a payload is not there; [`Error::Exists`] if the task has its files
    /// already; [`Error::Unsupported`] for an owner that the user namespace does not have, or without
    /// `noswap` under [`Options::require_no_swap`]; [`Error::Io`], with `StorageFull` if they do not
    /// fit and `PermissionDenied` if the process may not mount; [`Misuse::Forked`] in a process that was
    /// forked from the one that opened the directory; or the sink's error.
    pub fn deliver(&self, secrets: &TaskSecrets<'_>) -> Result<Delivery> {
        self.inner.folder.own()?;
        let items = items(secrets)?;
        let mut delivery = Delivery {
            inner: Arc::clone(&self.inner),
            task: secrets.task().clone(),
            node: Some(secrets.node().clone()),
            grants: Vec::new(),
            place: None,
        };
        delivery.announce(secrets.grants())?;
        match self.inner.folder.create(secrets.task().as_str(), &items) {
            Ok(place) => {
                delivery.grants = secrets.grants().to_vec();
                delivery.place = Some(place);
                Ok(delivery)
            }
            Err(error) => Err(delivery.refused(error)),
        }
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deliveries").field(&self.inner.folder.path()).finish()
    }
}

/// Holds a task's files. Dropping it wipes and removes them.
#[must_use = "dropping it takes the files away"]
pub struct Delivery {
    inner: Arc<Inner>,
    task: TaskId,
    node: Option<NodeId>,
    /// What is known to be laid out; nothing for a delivery that was recovered.
    grants: Vec<Grant>,
    /// `None` once it is given up.
    place: Option<Place>,
}

impl Delivery {
    /// The task.
    #[must_use]
    pub const fn task(&self) -> &TaskId {
        &self.task
    }

    /// The folder with its files.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.as_ref().map_or(Path::new(""), |place| &place.path)
    }

    /// What protects the files, and what does not.
    #[must_use]
    pub fn report(&self) -> &Report {
        static NOTHING: Report = Report::NOTHING;
        self.place.as_ref().map_or(&NOTHING, |place| &place.report)
    }

    /// Brings the files in line with what the task was granted, and gives the targets that changed:
    /// other versions take their places, what is not granted any more is wiped.
    ///
    /// New files are all written before the first one takes its place, so that a full tmpfs leaves
    /// everything as it was.
    ///
    /// # Errors
    ///
    /// [`Misuse::State`] for another task's secrets, or as [`Deliveries::deliver`].
    pub fn update(&mut self, secrets: &TaskSecrets<'_>) -> Result<Vec<Target>> {
        if secrets.task() != &self.task {
            return Err(Misuse::State("another task's secrets").into());
        }
        self.inner.folder.own()?;
        let Some(place) = &self.place else { return Ok(Vec::new()) };
        let items = items(secrets)?;
        let changed = place.tree.changed(&items)?;
        let is_changed =
            |grant: &&Grant| changed.iter().any(|item| item.target == grant.target.as_str());
        let coming: Vec<Grant> = secrets.grants().iter().filter(is_changed).cloned().collect();
        self.node = Some(secrets.node().clone());
        self.announce(&coming)?;
        let put = place.tree.put(&changed).and_then(|()| place.tree.retain(&items));
        if let Err(error) = put {
            return Err(self.refused(error));
        }
        let before = core::mem::replace(&mut self.grants, secrets.grants().to_vec());
        let gone = before.iter().filter(|grant| !self.grants.contains(grant));
        self.report_all(Action::Withdrawn, gone)?;
        Ok(coming.into_iter().map(|grant| grant.target).collect())
    }

    /// Leaves the files for the task, which goes on without this process.
    pub fn detach(mut self) {
        self.place = None;
    }

    /// Wipes and removes the files. Everything that can be done is done, also after an error; what is
    /// left, [`Deliveries::recover`] removes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], the first of them; [`Misuse::Forked`] in a forked process, which leaves the files;
    /// or the sink's error, the files being gone then.
    pub fn release(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        // In a forked child the files are the parent's: also its drop leaves them.
        self.inner.folder.own()?;
        let Some(place) = self.place.take() else { return Ok(()) };
        let removed = self.inner.folder.remove(place);
        if let Err(error) = removed {
            return Err(self.refused(error));
        }
        if self.grants.is_empty() {
            return self.report_event(self.event(Action::Withdrawn));
        }
        self.report_all(Action::Withdrawn, self.grants.iter())
    }

    fn announce(&self, grants: &[Grant]) -> Result<()> {
        self.report_all(Action::Delivered, grants.iter())
    }

    fn report_all<'a>(
        &self,
        action: Action,
        grants: impl Iterator<Item = &'a Grant>,
    ) -> Result<()> {
        grants.into_iter().try_for_each(|grant| {
            let mut event = self.event(action);
            event.secret = Some(grant.secret.clone());
            event.version = Some(grant.version);
            event.detail = Some(grant.target.to_string());
            self.report_event(event)
        })
    }

    /// Reports what failed, and gives it back.
    fn refused(&self, error: Error) -> Error {
        let mut event = self.event(Action::Refused);
        event.detail = Some(error.to_string());
        // The first error counts.
        let _ = self.report_event(event);
        error
    }

    fn event(&self, action: Action) -> Event {
        let mut event = Event::new(action, Time::now());
        event.task = Some(self.task.clone());
        event.node.clone_from(&self.node);
        event
    }

    fn report_event(&self, event: Event) -> Result<()> {
        self.inner.audit.as_ref().map_or(Ok(()), |sink| sink.record(&event))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // Nobody is there to be told; `release` tells.
        let _ = self.end();
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("task", &self.task)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// The files of what a task was granted.
fn items<'a>(secrets: &TaskSecrets<'a>) -> Result<Vec<Item<'a>>> {
    let item = |grant: &'a Grant| {
        Ok(Item {
            target: grant.target.as_str(),
            uid: grant.uid,
            gid: grant.gid,
            mode: grant.mode.bits(),
            content: secrets.get(&grant.secret, grant.version)?.expose(),
        })
    };
    secrets.grants().iter().map(item).collect()
}
