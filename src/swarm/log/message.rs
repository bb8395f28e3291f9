//! The messages in the log's records.

use crate::error::{Error, Result};
use crate::wal::encode::Message;
use crate::wal::proto::Fields;

/// A raft entry, its content still sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: EntryKind,
    pub(crate) term: u64,
    pub(crate) index: u64,
    /// The sealed record.
    pub(crate) data: &'a [u8],
}

/// What an entry changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// The cluster's objects.
    Normal,
    /// The raft members.
    Membership,
    Other(u64),
}

impl<'a> Entry<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self> {
        let mut entry = Self { kind: EntryKind::Normal, term: 0, index: 0, data: &[] };
        let mut has_data = false;
        for field in Fields::of(message) {
            match field? {
                (1, value) => {
                    entry.kind = match value.uint()? {
                        0 => EntryKind::Normal,
                        1 => EntryKind::Membership,
                        other => EntryKind::Other(other),
                    }
                }
                (2, value) => entry.term = value.uint()?,
                (3, value) => entry.index = value.uint()?,
                (4, value) => (entry.data, has_data) = (value.bytes()?, true),
                _ => {}
            }
        }
        // The CRC does not cover a record's type: another record must not pass for an entry.
        if !has_data {
            return Err(Error::damaged("an entry without content"));
        }
        // Raft counts from 1; the greatest number would leave no room for the next.
        if entry.index == 0 || entry.index == u64::MAX {
            return Err(Error::damaged("an entry with an impossible index"));
        }
        Ok(entry)
    }

    /// The message without its last field's bytes, which are `len` and follow.
    pub(crate) fn head(&self, len: usize) -> Vec<u8> {
        let mut message = Message::new();
        message.uint(1, self.kind.number());
        message.uint(2, self.term);
        message.uint(3, self.index);
        message.head(4, len);
        message.into_public()
    }
}

impl EntryKind {
    pub(crate) const fn number(self) -> u64 {
        match self {
            Self::Normal => 0,
            Self::Membership => 1,
            Self::Other(number) => number,
        }
    }
}

/// What raft keeps beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HardState {
    /// The latest term that the node has seen.
    pub term: u64,
    /// Raft id of the member it voted for in that term; 0: none.
    pub vote: u64,
    /// Index of the last entry that it knows to be committed.
    pub commit: u64,
}

impl HardState {
    pub(crate) fn parse(message: &[u8]) -> Result<Self> {
        let mut state = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => state.term = value.uint()?,
                (2, value) => state.vote = value.uint()?,
                (3, value) => state.commit = value.uint()?,
                // Nor must an entry pass for a state.
                _ => return Err(Error::damaged("a state with a field too many")),
            }
        }
        Ok(state)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut message = Message::new();
        message.uint(1, self.term);
        message.uint(2, self.vote);
        message.uint(3, self.commit);
        message.into_public()
    }
}

/// A member of the raft group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RaftMember {
    /// Its number in the raft group.
    pub raft_id: u64,
    /// Its Swarm node id.
    pub node_id: String,
    /// Its address, `host:port`.
    pub address: String,
}

impl RaftMember {
    pub(crate) fn parse(message: &[u8]) -> Result<Self> {
        let mut member = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => member.raft_id = value.uint()?,
                (2, value) => member.node_id = value.text()?.to_owned(),
                (3, value) => member.address = value.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(member)
    }

    /// The message, of a member whose status is not known to the cluster: so it stands in a log's
    /// metadata and in snapshots.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut message = Message::new();
        if self.raft_id != 0 {
            message.uint(1, self.raft_id);
        }
        for (field, text) in [(2, &self.node_id), (3, &self.address)] {
            if !text.is_empty() {
                message.bytes(field, text.as_bytes());
            }
        }
        message.bytes(4, &[]);
        message.into_public()
    }
}

/// A change of the raft group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MembershipChange {
    pub(crate) removes: bool,
    pub(crate) raft_id: u64,
    /// Empty node id and address where the change carries none.
    pub(crate) member: RaftMember,
}

impl MembershipChange {
    pub(crate) fn parse(message: &[u8]) -> Result<Self> {
        let (mut removes, mut raft_id, mut member) = (false, 0, RaftMember::default());
        for field in Fields::of(message) {
            match field? {
                (2, value) => removes = value.uint()? == 1,
                (3, value) => raft_id = value.uint()?,
                (4, value) => member = RaftMember::parse(value.bytes()?)?,
                _ => {}
            }
        }
        member.raft_id = raft_id;
        Ok(Self { removes, raft_id, member })
    }

    /// The message that removes a member.
    pub(crate) fn removal(raft_id: u64) -> Vec<u8> {
        let mut message = Message::new();
        message.uint(1, 0);
        message.uint(2, 1);
        message.uint(3, raft_id);
        message.into_public()
    }
}

/// Index and term of a snapshot, in a record of the log or in the snapshot itself, and who votes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SnapshotPoint {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) voters: Vec<u64>,
}

/// How the members stand in a snapshot's point. Each reader takes both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Members {
    /// As etcd 3.3 writes them: the voters.
    Voters,
    /// As etcd 3.5 does: the voters, and a last field that says that no change is under way.
    VotersSettled,
}

impl SnapshotPoint {
    /// Parses the record of the log, whose third field older writers leave out.
    pub(crate) fn parse_record(message: &[u8]) -> Result<Self> {
        Self::parse(message, [1, 2, 3])
    }

    /// Parses the metadata of a snapshot.
    pub(crate) fn parse_metadata(message: &[u8]) -> Result<Self> {
        Self::parse(message, [2, 3, 1])
    }

    /// The record of the log, which etcd 3.3 writes without the members.
    pub(crate) fn encode_record(&self, members: Members) -> Vec<u8> {
        let mut message = Message::new();
        message.uint(1, self.index);
        message.uint(2, self.term);
        if members == Members::VotersSettled {
            message.bytes(3, self.encode_members(members).as_bytes());
        }
        message.into_public()
    }

    /// The metadata of a snapshot.
    pub(crate) fn encode_metadata(&self, members: Members) -> Vec<u8> {
        let mut message = Message::new();
        message.bytes(1, self.encode_members(members).as_bytes());
        message.uint(2, self.index);
        message.uint(3, self.term);
        message.into_public()
    }

    fn encode_members(&self, members: Members) -> Message {
        let mut message = Message::new();
        self.voters.iter().for_each(|voter| message.uint(1, *voter));
        if members == Members::VotersSettled {
            message.uint(5, 0);
        }
        message
    }

    fn parse(message: &[u8], [index, term, members]: [u64; 3]) -> Result<Self> {
        let mut point = Self::default();
        for field in Fields::of(message) {
            let (number, value) = field?;
            if number == index {
                point.index = value.uint()?;
            } else if number == term {
                point.term = value.uint()?;
            } else if number == members {
                point.voters.clear();
                for field in Fields::of(value.bytes()?) {
                    if let (1, voter) = field? {
                        point.voters.push(voter.uint()?);
                    }
                }
            }
        }
        Ok(point)
    }
}
