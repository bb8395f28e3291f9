use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::Loss;
use super::content::{Content, wide};
use super::journal::Journal;
use super::names::{Inode, NameChange, Names};
use super::prng::Prng;

const ROOT: Inode = 0;

#[derive(Clone)]
pub(super) enum Node {
    File(Journal<Content>),
    Folder(Journal<Names>),
}

impl Node {
    pub(super) fn file(bytes: &[u8]) -> Self {
        Self::File(Journal::new(Content::new(bytes)))
    }

    pub(super) fn folder() -> Self {
        Self::Folder(Journal::new(Names::default()))
    }
}

/// Why an operation does not take place.
pub(super) struct Fault {
    pub(super) error: io::Error,
    pub(super) when: When,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The operation failed.
    Failed,
    /// The power was cut amid the operation.
    Cut,
    /// The power was cut before.
    Off,
}

pub(super) struct Disk {
    /// Also what has no name any more: it may be open.
    nodes: BTreeMap<Inode, Node>,
    /// Locked files: how many share the lock, 0 for one that has it alone.
    locked: BTreeMap<Inode, usize>,
    pub(super) operations: u64,
    pub(super) failures: BTreeMap<u64, io::ErrorKind>,
    pub(super) cut: Option<u64>,
    /// What happens once, right after a file was synced.
    #[cfg(test)]
    pub(super) after_sync: Option<Box<dyn FnOnce() + Send>>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::folder())]),
            locked: BTreeMap::new(),
            operations: 0,
            failures: BTreeMap::new(),
            cut: None,
            #[cfg(test)]
            after_sync: None,
        }
    }
}

impl Disk {
    /// Counts an operation.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        let now = self.operations;
        self.operations += 1;
        let failure = self.failures.remove(&now);
        if let Some(cut) = self.cut.filter(|cut| *cut <= now) {
            let when = if cut == now { When::Cut } else { When::Off };
            return Err(Fault { error: io::Error::other("the power is cut"), when });
        }
        failure.map_or(Ok(()), |kind| Err(Fault { error: kind.into(), when: When::Failed }))
    }

    /// Takes a lock, to share it or alone; `false`: another holds one that conflicts.
    pub(super) fn lock(&mut self, inode: Inode, share: bool) -> bool {
        match self.locked.get_mut(&inode) {
            Some(holders) if share && *holders > 0 => *holders += 1,
            Some(_) => return false,
            None => drop(self.locked.insert(inode, usize::from(share))),
        }
        true
    }

    pub(super) fn unlock(&mut self, inode: Inode) {
        match self.locked.get_mut(&inode) {
            Some(holders) if *holders > 1 => *holders -= 1,
            _ => drop(self.locked.remove(&inode)),
        }
    }

    /// How much of a write that fails now was done, in bytes.
    pub(super) fn part(&self, len: usize) -> usize {
        let part = Prng::new(self.operations).up_to(wide(len));
        usize::try_from(part).map_or(len, |part| part.min(len))
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Inode> {
        self.walk_down(&clean(path))
    }

    fn walk_down(&self, names: &[OsString]) -> io::Result<Inode> {
        names.iter().try_fold(ROOT, |inode, name| {
            self.get(inode, name)?.ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    /// The folder that holds `path`, and the name in it.
    pub(super) fn find_name(&self, path: &Path) -> io::Result<(Inode, OsString)> {
        let mut names = clean(path);
        let name = names.pop().ok_or(io::ErrorKind::ResourceBusy)?;
        Ok((self.walk_down(&names)?, name))
    }

    fn get(&self, folder: Inode, name: &OsStr) -> io::Result<Option<Inode>> {
        Ok(self.folder(folder)?.live().get(name))
    }

    pub(super) fn create(&mut self, path: &Path, node: Node) -> io::Result<Inode> {
        match self.find(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            found => return found.and(Err(io::ErrorKind::AlreadyExists.into())),
        }
        let (folder, name) = self.find_name(path)?;
        // Before the node is there, for this may fail.
        self.folder(folder)?;
        let inode = self.insert(node);
        self.folder_mut(folder)?.make(NameChange::Add { name, inode });
        Ok(inode)
    }

    /// Within one folder.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.find(from)?;
        let (folder, from) = self.find_name(from)?;
        let (to_folder, to) = self.find_name(to)?;
        if to_folder != folder {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        match self.get(folder, &to)? {
            Some(old) if old == inode => return Ok(()),
            Some(old) => match (self.is_folder(inode), self.folder(old).map(Journal::live)) {
                (true, Ok(names)) if !names.is_empty() => {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                (true, Err(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                (false, Ok(_)) => return Err(io::ErrorKind::IsADirectory.into()),
                (true, Ok(_)) | (false, Err(_)) => {}
            },
            None => {}
        }
        self.folder_mut(folder)?.make(NameChange::Rename { from, to, inode });
        Ok(())
    }

    fn insert(&mut self, node: Node) -> Inode {
        let inode = self.nodes.last_key_value().map_or(ROOT, |(last, _)| last + 1);
        self.nodes.insert(inode, node);
        inode
    }

    pub(super) fn is_folder(&self, inode: Inode) -> bool {
        matches!(self.nodes.get(&inode), Some(Node::Folder(_)))
    }

    pub(super) fn file(&self, inode: Inode) -> io::Result<&Journal<Content>> {
        match self.nodes.get(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn file_mut(&mut self, inode: Inode) -> io::Result<&mut Journal<Content>> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn folder(&self, inode: Inode) -> io::Result<&Journal<Names>> {
        match self.nodes.get(&inode) {
            Some(Node::Folder(folder)) => Ok(folder),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn folder_mut(&mut self, inode: Inode) -> io::Result<&mut Journal<Names>> {
        match self.nodes.get_mut(&inode) {
            Some(Node::Folder(folder)) => Ok(folder),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Puts a file there that is durable at once, and folders above it where they are missing.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut names = clean(path);
        let file = Node::file(bytes);
        let Some(name) = names.pop() else { return Err(io::ErrorKind::IsADirectory.into()) };
        let mut folder = ROOT;
        for name in names {
            folder = match self.get(folder, &name)? {
                Some(inode) => inode,
                None => self.add_durable(folder, name, Node::folder())?,
            };
        }
        match self.get(folder, &name)? {
            Some(inode) if self.is_folder(inode) => Err(io::ErrorKind::IsADirectory.into()),
            // What has the name open sees the new bytes.
            Some(inode) => {
                self.nodes.insert(inode, file);
                self.folder_mut(folder)?.make_durable(NameChange::Add { name, inode });
                Ok(())
            }
            None => self.add_durable(folder, name, file).map(drop),
        }
    }

    fn add_durable(&mut self, folder: Inode, name: OsString, node: Node) -> io::Result<Inode> {
        let inode = self.insert(node);
        self.folder_mut(folder)?.make_durable(NameChange::Add { name, inode });
        Ok(inode)
    }

    /// All that has a name, with its path.
    pub(super) fn walk(&self) -> Vec<(PathBuf, Inode)> {
        let mut found = vec![(PathBuf::from("/"), ROOT)];
        let mut next = 0;
        while let Some((path, inode)) = found.get(next).cloned() {
            if let Ok(folder) = self.folder(inode) {
                found.extend(folder.live().iter().map(|(name, inode)| (path.join(name), inode)));
            }
            next += 1;
        }
        found.sort();
        found
    }

    /// The disk as it comes up after a power cut.
    pub(super) fn survivor(&self, loss: Loss, seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        let nodes = self.nodes.iter().map(|(inode, node)| {
            let node = match node {
                Node::File(file) => Node::File(Journal::new(file.survivor(loss, &mut prng))),
                Node::Folder(names) => Node::Folder(Journal::new(names.survivor(loss, &mut prng))),
            };
            (*inode, node)
        });
        Self { nodes: nodes.collect(), ..Self::default() }.without_nameless()
    }

    /// The disk as the next process finds it when this one was killed.
    pub(super) fn after_kill(&self) -> Self {
        Self { nodes: self.nodes.clone(), ..Self::default() }
    }

    fn without_nameless(mut self) -> Self {
        let named: BTreeSet<Inode> = self.walk().into_iter().map(|(_, inode)| inode).collect();
        self.nodes.retain(|inode, _| named.contains(inode));
        self
    }
}

/// The names on the way from the root.
fn clean(path: &Path) -> Vec<OsString> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => {
                names.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    names
}
