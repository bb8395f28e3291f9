//! Nodes with assignments, and what the kernel says.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nodeseal::audit::{Event, Sink};
use nodeseal::delivery::Assigned;
use nodeseal::grant::{Assignment, Change, Grant, Mode, NodeId, Scope, SecretId, Target, TaskId};
use nodeseal::secret::SecretBytes;
use nodeseal::{Error, Result};

pub(crate) const PAYLOAD: &[u8] = b"correct horse battery staple";

/// One file: target, owner, group, mode, payload. Its secret is named after its place in the list.
pub(crate) type File<'a> = (&'a str, u32, u32, u32, &'a [u8]);

pub(crate) fn task_id(name: &str) -> TaskId {
    TaskId::new(name).unwrap()
}

/// Gives a task these files, all of them at `version`, and everything else to nobody.
pub(crate) fn assign(assigned: &mut Assigned, task: &str, version: u64, files: &[File<'_>]) {
    let mut changes = Vec::new();
    let mut grants = Vec::new();
    for (n, (target, uid, gid, mode, payload)) in files.iter().enumerate() {
        let secret = SecretId::new(&format!("s{n}")).unwrap();
        let payload = SecretBytes::from(*payload);
        changes.push(Change::Secret { secret: secret.clone(), version, payload });
        grants.push(Grant {
            secret,
            version,
            target: Target::new(target).unwrap(),
            uid: *uid,
            gid: *gid,
            mode: Mode::new(*mode).unwrap(),
        });
    }
    changes.push(Change::Task { task: task_id(task), grants });
    let scope = assigned.sequence().map_or(Scope::Complete, Scope::Since);
    let sequence = assigned.sequence().unwrap_or(0) + 1;
    let node = node();
    assigned.take(Assignment { node, scope, sequence, changes }).unwrap();
}

pub(crate) fn node() -> NodeId {
    NodeId::new("w1").unwrap()
}

/// A node with one task, `t1`, that has these files.
pub(crate) fn with_task(files: &[File<'_>]) -> Assigned {
    let mut assigned = Assigned::new(node());
    assign(&mut assigned, "t1", 1, files);
    assigned
}

/// A folder on a disk.
pub(crate) fn on_disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The lines of `/proc/self/mountinfo` about what is mounted below `dir`.
pub(crate) fn mounts(dir: &Path) -> Vec<String> {
    let below = format!(" {}/", dir.display());
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().filter(|line| line.contains(&below)).map(str::to_owned).collect()
}

/// Every file and folder below `dir` on its own file system, with the content of the files.
pub(crate) fn tree(dir: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.push((entry.path(), None));
            found.extend(tree(&entry.path()));
        } else {
            found.push((entry.path(), Some(fs::read(entry.path()).unwrap())));
        }
    }
    found
}

/// What is left in a folder of deliveries: its lock, and nothing else.
pub(crate) fn assert_empty(dir: &Path) {
    assert_eq!(mounts(dir), Vec::<String>::new());
    let names: Vec<_> = tree(dir).into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, [dir.join("nodeseal.lock")]);
}

pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Keeps events, until it is told to refuse them.
#[derive(Default)]
pub(crate) struct Events {
    seen: Mutex<Vec<String>>,
    full: AtomicBool,
}

impl Events {
    /// Action, secret and detail of what was recorded since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        core::mem::take(&mut self.seen.lock().unwrap())
    }

    pub(crate) fn refuse(&self, refuse: bool) {
        self.full.store(refuse, Ordering::Relaxed);
    }
}

impl Sink for Events {
    fn record(&self, event: &Event) -> Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(Error::Poisoned);
        }
        let secret = event.secret.as_ref().map_or("-", SecretId::as_str);
        let detail = event.detail.as_deref().unwrap_or("-");
        assert_eq!(event.task.as_ref().map(TaskId::as_str), Some("t1"));
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("{} {secret} {detail}", event.action.name()));
        Ok(())
    }
}

/// Says on its drop that something is over, also when a test fails: other threads must not go on.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
