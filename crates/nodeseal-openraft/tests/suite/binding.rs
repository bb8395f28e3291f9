//! An entry is its leader's: one of the same term and index by another node does not open in its
//! place.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nodeseal::Error;
use nodeseal::seal::RECORD_OVERHEAD;
use nodeseal_openraft::{LogStore, era};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{CommittedLeaderId, Entry, EntryPayload, LogId};

use crate::store;
use crate::support::machine::{Types, Value};

const TERM: u64 = 7;

fn entry(node: u64) -> Entry<Types> {
    let log_id = LogId::new(CommittedLeaderId::new(TERM, node), 0);
    let payload = EntryPayload::Normal(Value("v".into()));
    Entry { log_id, payload }
}

/// Where the record of node's entry stands: behind index, era and the era before.
fn record(dir: &Path, node: u64) -> (PathBuf, u64) {
    let leader = CommittedLeaderId::new(TERM, node);
    let mut head = [0; 24];
    head[8..16].copy_from_slice(&era::<Types>(&leader).unwrap().get().to_le_bytes());
    for file in std::fs::read_dir(dir.join("raft")).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(head.len()).rposition(|window| window == head) {
            return (path, u64::try_from(at + head.len()).unwrap());
        }
    }
    panic!("no entry of node {node}")
}

#[tokio::test]
async fn an_entry_of_the_same_term_and_index_by_another_leader_does_not_open() {
    for (other, opens) in [(1, true), (2, false)] {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let mut log = LogStore::<Types>::new(store.clone()).unwrap();
        log.blocking_append([entry(1)]).await.unwrap();
        let (path, at) = record(dir.path(), 1);
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let len = store.entry(0).unwrap().unwrap().1.len();
        let mut first = vec![0; RECORD_OVERHEAD + len];
        file.read_exact_at(&mut first, at).unwrap();

        log.truncate(entry(1).log_id).await.unwrap();
        log.blocking_append([entry(other)]).await.unwrap();
        assert_eq!(store.entry(0).unwrap().unwrap().1.len(), len, "as long as the first");
        let (_, at) = record(dir.path(), other);
        file.write_all_at(&first, at).unwrap();
        match store.entry(0) {
            Ok(Some(_)) => assert!(opens, "node {other}'s place took another's entry"),
            Err(Error::Unauthentic) => assert!(!opens),
            read => panic!("{read:?}"),
        }
    }
}
