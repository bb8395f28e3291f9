//! A whole store with every object's bytes as they were found, to write it again.

mod repair;

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::secret::SecretBytes;
use crate::swarm::log::{EntryRecord, RaftMember};
use crate::swarm::objects::{Cluster, ObjectKind, id};
use crate::swarm::replay::Replay;
use crate::wal::encode::{Message, field_len};

/// A cluster's store. Objects are kept as they stand in the log and in snapshots, so that nothing
/// is lost that this version does not know; what it cannot keep is a finding with a loss.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// By the field number in a snapshot's store, then by id: the order of Swarm's own.
    tables: BTreeMap<u32, BTreeMap<String, SecretBytes>>,
    pub(crate) members: BTreeMap<u64, RaftMember>,
    /// Members that were removed and may not come back.
    pub(crate) removed: BTreeSet<u64>,
    /// Entries that are not known to be committed, in their order, with their content.
    pub(crate) tail: Vec<(EntryRecord, SecretBytes)>,
}

impl Image {
    /// The cluster's object, as it stands there.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if there is not exactly one.
    pub(crate) fn cluster(&self) -> Result<&SecretBytes> {
        let table = self.table(ObjectKind::Cluster).into_iter().flatten();
        let mut objects = table.map(|(_, object)| object);
        match (objects.next(), objects.next()) {
            (Some(object), None) => Ok(object),
            (None, _) => Err(Error::damaged("the store has no cluster object")),
            (Some(_), Some(_)) => Err(Error::damaged("the store has several cluster objects")),
        }
    }

    /// The cluster's object, read.
    ///
    /// # Errors
    ///
    /// As for [`Image::cluster`], and if it cannot be read.
    pub(crate) fn parsed_cluster(&self) -> Result<Cluster> {
        Cluster::parse(self.cluster()?.expose())
    }

    /// How many objects there are of each kind of which there are any.
    pub(crate) fn counts(&self) -> BTreeMap<ObjectKind, usize> {
        let tables = self.tables.iter().filter(|(_, table)| !table.is_empty());
        tables
            .map(|(field, table)| (ObjectKind::in_store(u64::from(*field)), table.len()))
            .collect()
    }

    fn table(&self, kind: ObjectKind) -> Option<&BTreeMap<String, SecretBytes>> {
        self.tables.get(&kind.store_field()?)
    }

    /// The content of a snapshot of it. Frees the objects while they are written, so that the
    /// memory holds the store little more than once.
    pub(crate) fn into_snapshot(self) -> SecretBytes {
        let membership = self.membership();
        let sizes = self.tables.iter().flat_map(|(field, table)| {
            table.values().map(|object| field_len(*field, object.len()))
        });
        let store: usize = sizes.sum();
        let mut content =
            Message::with_capacity(field_len(2, membership.len()) + field_len(3, store));
        content.bytes(2, membership.as_bytes());
        content.head(3, store);
        for (field, table) in self.tables {
            for (_, object) in table {
                content.bytes(field, object.expose());
            }
        }
        content.into_secret()
    }

    fn membership(&self) -> Message {
        let mut membership = Message::new();
        self.members.values().for_each(|member| membership.bytes(1, &member.encode()));
        self.removed.iter().for_each(|raft_id| membership.uint(2, *raft_id));
        membership
    }
}

impl Replay for Image {
    fn put(&mut self, kind: ObjectKind, object: &[u8]) -> Result<bool> {
        let field = kind.store_field().ok_or_else(|| Error::unsupported("kind of object", kind))?;
        let table = self.tables.entry(field).or_default();
        Ok(table.insert(id(object)?, SecretBytes::from(object)).is_some())
    }

    fn remove(&mut self, kind: ObjectKind, id: &str) -> bool {
        let table = kind.store_field().and_then(|field| self.tables.get_mut(&field));
        table.is_some_and(|table| table.remove(id).is_some())
    }

    fn put_member(&mut self, member: RaftMember) {
        self.members.insert(member.raft_id, member);
    }

    fn remove_member(&mut self, raft_id: u64) {
        self.members.remove(&raft_id);
        self.removed.insert(raft_id);
    }

    fn is_sole_member(&self, raft_id: u64) -> bool {
        self.members.len() == 1 && self.members.contains_key(&raft_id)
    }

    fn needs_all(&self) -> bool {
        true
    }

    fn left_out(&mut self, entry: &EntryRecord, content: &SecretBytes) {
        self.tail.push((*entry, SecretBytes::from(content.expose())));
    }
}
