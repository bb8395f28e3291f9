//! A manager that was cut off while a second one joined: what it saved when it was alone is the cluster's,
//! which etcd commits at once when it starts, also behind the membership change.

use super::*;
use crate::secret::SecretBytes;
use crate::swarm::finding::Findings;
use crate::swarm::log::{Entry, EntryKind, HardState, RaftMember};
use crate::swarm::record::{self, Cipher, Sealer};
use crate::swarm::replay::Objects;
use crate::swarm::state::gather;
use crate::wal::encode::Message;
use crate::wal::{Frames, Kind};

/// Appends entries behind the log's last one, that the last state does not know to be committed.
fn append(folder: &Folder, entries: &[(EntryKind, Vec<u8>)]) {
    let dek = dek(&folder.disk, folder.key.as_ref());
    let keys = crate::swarm::key_file::NodeKeys {
        current: Some(dek.duplicate()),
        pending: None,
        tls_key: SecretBytes::new(),
    };
    let at = crate::swarm::folder::Folder::new(Path::new(DIR));
    let (mut objects, mut findings) = (Objects::default(), Findings::default());
    let log = gather(&folder.disk, &at, Some(&keys), &mut objects, &mut findings).unwrap().log;
    let HardState { term, .. } = log.hard_state.unwrap();
    let mut frames = Frames::reuse(Vec::new(), log.chain.unwrap());
    for (index, (kind, content)) in (log.last_index().unwrap() + 1..).zip(entries) {
        let with = Sealer { cipher: Cipher::SecretBox, key: &dek };
        let sealed = record::seal(Some(with), SecretBytes::from(&content[..])).unwrap();
        let head = Entry { kind: *kind, term, index, data: &[] }.head(sealed.len());
        frames.put(Kind::Entry, &[&head, sealed.expose()]).unwrap();
    }
    let path = log.paths.last().unwrap();
    let mut bytes = folder.disk.read_file(path).unwrap();
    bytes.truncate(usize::try_from(log.segments.last().unwrap().used).unwrap());
    bytes.extend_from_slice(frames.bytes());
    folder.disk.write_file(path, &bytes).unwrap();
}

fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut message = Message::new();
    fields.iter().for_each(|(field, bytes)| message.bytes(*field, bytes));
    message.as_bytes().to_vec()
}

/// The request that creates a secret of this name and payload.
fn create(name: &str) -> (EntryKind, Vec<u8>) {
    let spec = message(&[(1, &message(&[(1, name.as_bytes())])), (2, name.as_bytes())]);
    let secret = message(&[(1, name.as_bytes()), (2, &[]), (3, &spec)]);
    let action = [&[8, 1], &message(&[(7, &secret)])[..]].concat();
    (EntryKind::Normal, message(&[(2, &action)]))
}

/// The change that adds a member.
fn join(raft_id: u64) -> (EntryKind, Vec<u8>) {
    let (node_id, address) = ("another".to_owned(), "10.0.0.2:2377".to_owned());
    let member = RaftMember { raft_id, node_id, address };
    let mut change = Message::new();
    change.uint(3, raft_id);
    change.bytes(4, &member.encode());
    (EntryKind::Membership, change.as_bytes().to_vec())
}

#[test]
fn what_was_saved_alone_counts_behind_a_membership_change_too() {
    let tails: [&[_]; 3] = [
        &[create("a"), join(7)],
        &[create("a"), join(7), create("b")],
        &[create("a"), join(7), create("b"), join(8), create("c")],
    ];
    for tail in tails {
        let mut folder = load("3-unlocked");
        append(&folder, tail);
        for name in ["a", "b", "c"] {
            if tail.contains(&create(name)) {
                folder.secrets.insert(name.to_owned(), name.as_bytes().to_vec());
            }
        }
        let members = 1 + tail.iter().filter(|(kind, _)| *kind == EntryKind::Membership).count();
        assert_eq!(secrets(&folder.disk, None).unwrap(), folder.secrets);
        let before = State::read_in(&folder.disk, Path::new(DIR), None).unwrap();
        assert_eq!(before.objects.members.len(), members);

        // What concerns the whole cluster is not its own any more.
        let new = key(9);
        let lock = apply(&folder.disk, None, Change::Lock { new: &new });
        assert!(matches!(lock, Err(Error::Misuse(_))));

        for change in [Change::RotateDek, Change::RotateDek, Change::ForceNewCluster] {
            let (_, report) = as_planned(&folder, change);
            assert_eq!(secrets(&folder.disk, None).unwrap(), folder.secrets);
            let state = State::read_in(&folder.disk, Path::new(DIR), None).unwrap();
            let cut = matches!(change, Change::ForceNewCluster);
            assert_eq!(state.objects.members.len(), if cut { 1 } else { members });
            if !cut {
                assert_eq!(Some(report.snapshot_index), before.raft.last_index);
                assert_eq!(state.raft.last_index, None);
            }
            assert_eq!(report.entries_discarded, 0);
        }
    }
}

/// Of several managers a tail is nobody's, also if it says that the others are gone.
#[test]
fn a_tail_of_several_managers_does_not_make_itself_count() {
    let folder = load("three-managers-m1");
    let state = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
    let own = state.raft.member.unwrap().raft_id;
    let others = state.objects.members.keys().filter(|id| **id != own);
    let removal = |id: &u64| {
        (EntryKind::Membership, crate::swarm::log::MembershipChange::removal(*id).to_vec())
    };
    let tail: Vec<_> = others.map(removal).chain([create("a")]).collect();
    append(&folder, &tail);
    assert_eq!(secrets(&folder.disk, folder.key.as_ref()).unwrap(), folder.secrets);
    as_planned(&folder, Change::RotateDek);
    assert_eq!(secrets(&folder.disk, folder.key.as_ref()).unwrap(), folder.secrets);
    let again = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
    assert_eq!(again.objects.members.len(), 3);
    assert_eq!(again.raft.uncommitted, 3);
}
