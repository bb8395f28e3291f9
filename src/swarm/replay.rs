//! A cluster's objects, from a snapshot and the entries behind it.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Place, Result};
use crate::secret::SecretBytes;
use crate::swarm::finding::{FindingKind, Findings, Loss};
use crate::swarm::log::{EntryRecord, MembershipChange, RaftMember};
use crate::swarm::objects::{Cluster, Node, ObjectKind, Secret, Service, Task, id};
use crate::wal::proto::Fields;

/// The objects of a cluster by their ids.
///
/// Of kinds that have nothing to do with keys and secrets only the ids are kept.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Objects {
    /// The secrets, payloads included.
    pub secrets: BTreeMap<String, Secret>,
    /// The services.
    pub services: BTreeMap<String, Service>,
    /// The tasks.
    pub tasks: BTreeMap<String, Task>,
    /// The nodes.
    pub nodes: BTreeMap<String, Node>,
    /// The cluster, unlock keys included. There is one.
    pub clusters: BTreeMap<String, Cluster>,
    /// Ids of all other objects.
    pub others: BTreeMap<ObjectKind, BTreeSet<String>>,
    /// The members of the raft group by their raft ids.
    pub members: BTreeMap<u64, RaftMember>,
}

/// What an action does with its object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Update,
    Remove,
}

impl Action {
    fn of(number: u64) -> Result<Self> {
        match number {
            1 => Ok(Self::Create),
            2 => Ok(Self::Update),
            3 => Ok(Self::Remove),
            other => Err(Error::unsupported("action on an object", other)),
        }
    }
}

impl Objects {
    /// How many objects there are of each kind of which there are any.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<ObjectKind, usize> {
        let mut counts = BTreeMap::from([
            (ObjectKind::Secret, self.secrets.len()),
            (ObjectKind::Service, self.services.len()),
            (ObjectKind::Task, self.tasks.len()),
            (ObjectKind::Node, self.nodes.len()),
            (ObjectKind::Cluster, self.clusters.len()),
        ]);
        counts.extend(self.others.iter().map(|(kind, ids)| (*kind, ids.len())));
        counts.retain(|_, count| *count > 0);
        counts
    }
}

/// Takes a state up: the content of a snapshot, then the entries behind it.
pub(crate) trait Replay {
    /// Puts an object in its place; whether there was one of that id.
    fn put(&mut self, kind: ObjectKind, object: &[u8]) -> Result<bool>;

    /// Removes an object; whether there was one.
    fn remove(&mut self, kind: ObjectKind, id: &str) -> bool;

    /// Adds a member of the raft group, or changes it.
    fn put_member(&mut self, member: RaftMember);

    /// Removes a member of the raft group, which does not come back under this id.
    fn remove_member(&mut self, raft_id: u64);

    /// Whether `raft_id` is the only member, so that what it has written is committed.
    fn is_sole_member(&self, raft_id: u64) -> bool;

    /// Whether what is not known must not be passed over.
    fn needs_all(&self) -> bool {
        false
    }

    /// An entry that is not known to be committed, and is not applied.
    fn left_out(&mut self, _entry: &EntryRecord, _content: &SecretBytes) {}

    /// Takes over the content of a snapshot. An object that cannot be read is a finding.
    fn load(&mut self, content: &[u8], place: &Place, findings: &mut Findings) {
        if let Err(error) = try_load(self, content, place, findings) {
            content_damaged(findings, place, "the snapshot", &error);
        }
    }

    /// Applies the request of an entry; an empty one changes nothing.
    fn apply(&mut self, request: &[u8], place: &Place, findings: &mut Findings) {
        for field in Fields::of(request) {
            let applied = field.and_then(|(number, value)| match number {
                2 => act(self, value.bytes()?, place, findings),
                _ => Ok(()),
            });
            if let Err(error) = applied {
                content_damaged(findings, place, "a change in the entry", &error);
            }
        }
    }

    /// Applies a change of the raft group.
    fn apply_membership(&mut self, change: &[u8], place: &Place, findings: &mut Findings) {
        match MembershipChange::parse(change) {
            Ok(change) if change.removes => self.remove_member(change.raft_id),
            Ok(change) => self.put_member(change.member),
            Err(error) => content_damaged(findings, place, "a membership change", &error),
        }
    }
}

fn try_load<R: Replay + ?Sized>(
    to: &mut R,
    content: &[u8],
    place: &Place,
    findings: &mut Findings,
) -> Result<()> {
    for field in Fields::of(content) {
        match field? {
            (1, value) if value.uint()? != 0 => {
                return Err(Error::unsupported("version of a snapshot", value.uint()?));
            }
            (1, _) => {}
            (2, value) => {
                for field in Fields::of(value.bytes()?) {
                    match field? {
                        (1, member) => to.put_member(RaftMember::parse(member.bytes()?)?),
                        (2, raft_id) => to.remove_member(raft_id.uint()?),
                        (other, _) if to.needs_all() => {
                            return Err(Error::unsupported("field of a membership", other));
                        }
                        _ => {}
                    }
                }
            }
            (3, value) => {
                for field in Fields::of(value.bytes()?) {
                    let (table, object) = field?;
                    let kind = ObjectKind::in_store(table);
                    let loaded = object.bytes().and_then(|object| to.put(kind, object));
                    if let Err(error) = loaded {
                        content_damaged(findings, place, "an object in the snapshot", &error);
                    }
                }
            }
            (other, _) if to.needs_all() => {
                return Err(Error::unsupported("field of a snapshot", other));
            }
            _ => {}
        }
    }
    Ok(())
}

fn act<R: Replay + ?Sized>(
    on: &mut R,
    action: &[u8],
    place: &Place,
    findings: &mut Findings,
) -> Result<()> {
    let (mut what, mut target) = (0, None);
    for field in Fields::of(action) {
        match field? {
            (1, value) => what = value.uint()?,
            (number, value) => target = Some((ObjectKind::in_action(number), value.bytes()?)),
        }
    }
    let action = Action::of(what)?;
    let Some((kind, object)) = target else {
        return Err(Error::damaged("a change without an object"));
    };
    let existed = match action {
        Action::Remove => on.remove(kind, &id(object)?),
        Action::Create | Action::Update => on.put(kind, object)?,
    };
    if existed == (action == Action::Create) {
        let text = match action {
            Action::Create => "an object is created that was there",
            Action::Update => "an object is updated that was not there",
            Action::Remove => "an object is removed that was not there",
        };
        findings.warn(FindingKind::ChangeMisfit, place.clone(), format!("{text}: {kind}"));
    }
    Ok(())
}

impl Replay for Objects {
    fn put(&mut self, kind: ObjectKind, object: &[u8]) -> Result<bool> {
        Ok(match kind {
            ObjectKind::Secret => {
                let secret = Secret::parse(object)?;
                self.secrets.insert(secret.facts.id.clone(), secret).is_some()
            }
            ObjectKind::Service => {
                let service = Service::parse(object)?;
                self.services.insert(service.id.clone(), service).is_some()
            }
            ObjectKind::Task => {
                let task = Task::parse(object)?;
                self.tasks.insert(task.id.clone(), task).is_some()
            }
            ObjectKind::Node => {
                let node = Node::parse(object)?;
                self.nodes.insert(node.id.clone(), node).is_some()
            }
            ObjectKind::Cluster => {
                let cluster = Cluster::parse(object)?;
                self.clusters.insert(cluster.facts.id.clone(), cluster).is_some()
            }
            _ => !self.others.entry(kind).or_default().insert(id(object)?),
        })
    }

    fn remove(&mut self, kind: ObjectKind, id: &str) -> bool {
        match kind {
            ObjectKind::Secret => self.secrets.remove(id).is_some(),
            ObjectKind::Service => self.services.remove(id).is_some(),
            ObjectKind::Task => self.tasks.remove(id).is_some(),
            ObjectKind::Node => self.nodes.remove(id).is_some(),
            ObjectKind::Cluster => self.clusters.remove(id).is_some(),
            _ => self.others.get_mut(&kind).is_some_and(|ids| ids.remove(id)),
        }
    }

    fn put_member(&mut self, member: RaftMember) {
        self.members.insert(member.raft_id, member);
    }

    fn remove_member(&mut self, raft_id: u64) {
        self.members.remove(&raft_id);
    }

    fn is_sole_member(&self, raft_id: u64) -> bool {
        self.members.len() == 1 && self.members.contains_key(&raft_id)
    }
}

/// Keeps nothing but who the members are: for who has read the objects already, or hands them on as
/// they are.
#[derive(Debug, Default)]
pub(crate) struct Passing {
    members: BTreeSet<u64>,
}

impl Replay for Passing {
    fn put(&mut self, _: ObjectKind, _: &[u8]) -> Result<bool> {
        Ok(true)
    }

    fn remove(&mut self, _: ObjectKind, _: &str) -> bool {
        true
    }

    fn put_member(&mut self, member: RaftMember) {
        self.members.insert(member.raft_id);
    }

    fn remove_member(&mut self, raft_id: u64) {
        self.members.remove(&raft_id);
    }

    fn is_sole_member(&self, raft_id: u64) -> bool {
        self.members.len() == 1 && self.members.contains(&raft_id)
    }
}

fn content_damaged(findings: &mut Findings, place: &Place, what: &str, error: &Error) {
    let text = format!("{what} opens, but cannot be read: {error}");
    findings.error(FindingKind::ContentDamaged, place.clone(), text, Some(Loss::Content));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn f(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn secret(id: &str, payload: &[u8]) -> Vec<u8> {
        [f(1, id.as_bytes()), f(3, &f(2, payload))].concat()
    }

    fn request(action: u8, table: u8, object: &[u8]) -> Vec<u8> {
        f(2, &[vec![8, action], f(table, object)].concat())
    }

    fn apply(objects: &mut Objects, request: &[u8]) -> Vec<FindingKind> {
        let mut findings = Findings::default();
        objects.apply(request, &Place::default(), &mut findings);
        findings.finish().iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn objects_are_created_updated_and_removed() {
        let mut objects = Objects::default();
        assert!(apply(&mut objects, &request(1, 7, &secret("a", b"one"))).is_empty());
        assert!(apply(&mut objects, &request(2, 7, &secret("a", b"two"))).is_empty());
        assert_eq!(objects.secrets["a"].payload.expose(), b"two");
        assert!(apply(&mut objects, &request(1, 10, &f(1, b"c"))).is_empty());
        assert!(apply(&mut objects, &request(1, 14, &f(1, b"x"))).is_empty());
        assert_eq!(objects.counts()[&ObjectKind::Config], 1);
        assert_eq!(objects.counts()[&ObjectKind::Other(14)], 1);
        assert!(apply(&mut objects, &request(3, 7, &secret("a", b"two"))).is_empty());
        assert!(objects.secrets.is_empty());
        assert!(apply(&mut objects, b"").is_empty());
    }

    #[test]
    fn a_change_that_does_not_fit_is_told() {
        let mut objects = Objects::default();
        let misfit = [FindingKind::ChangeMisfit];
        assert_eq!(apply(&mut objects, &request(2, 7, &secret("a", b"1"))), misfit);
        assert_eq!(objects.secrets.len(), 1);
        assert_eq!(apply(&mut objects, &request(1, 7, &secret("a", b"2"))), misfit);
        assert_eq!(apply(&mut objects, &request(3, 7, &secret("b", b""))), misfit);
    }

    #[test]
    fn one_unreadable_change_does_not_hide_the_next() {
        let mut objects = Objects::default();
        let both = [request(1, 7, b"\xff"), request(1, 7, &secret("a", b"1"))].concat();
        assert_eq!(apply(&mut objects, &both), [FindingKind::ContentDamaged]);
        assert_eq!(objects.secrets.len(), 1);
        let unknown = [request(9, 7, &secret("b", b"1")), f(2, b"\x08\x01")].concat();
        assert_eq!(apply(&mut objects, &unknown), [FindingKind::ContentDamaged; 2]);
    }
}
