//! Metadata of any size, up to a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use nodeseal::fs::SimFs;
use nodeseal_openraft::MAX_SNAPSHOT_META;
use openraft::{BasicNode, Membership, SnapshotMeta, StoredMembership};
use tokio::io::AsyncWriteExt;

use crate::support::machine::Types;
use crate::support::{log_id, snapshot_meta};
use crate::{content, on};

/// Three voters and learners, each with so much data: a certificate, labels.
fn members(count: u64, data: usize) -> SnapshotMeta<u64, BasicNode> {
    let nodes: BTreeMap<_, _> =
        (1..=count).map(|id| (id, BasicNode::new("x".repeat(data)))).collect();
    let membership = Membership::new(vec![BTreeSet::from([1, 2, 3])], nodes);
    SnapshotMeta {
        last_membership: StoredMembership::new(Some(log_id(4)), membership),
        ..snapshot_meta(9)
    }
}

#[tokio::test]
async fn the_membership_may_be_large() {
    for (count, data) in [(5, 900), (200, 20), (200, 4000), (1000, 2000)] {
        let disk = SimFs::new();
        let snapshots = on(&disk).0.snapshots();
        let meta = members(count, data);
        let built = snapshots.build::<Types>(meta.clone(), |out| out.write_all(b"the state"));
        let built = built.await.unwrap();
        assert_eq!(built.meta, meta);
        assert_eq!(content(*built.snapshot).await, b"the state");

        // What is sent is the state alone; it goes with the metadata of the leader.
        let other = on(&SimFs::new()).0.snapshots();
        let mut sent = *snapshots.current::<Types>().await.unwrap().unwrap().snapshot;
        let mut data = other.begin::<Types>().await.unwrap();
        assert_eq!(tokio::io::copy(&mut sent, &mut data).await.unwrap(), 9);
        data.shutdown().await.unwrap();
        other.install::<Types>(&meta, data).await.unwrap();

        let again = on(&disk.after_kill()).0.snapshots();
        for snapshots in [other, again] {
            let current = snapshots.current::<Types>().await.unwrap().unwrap();
            assert_eq!(current.meta, meta);
            assert_eq!(content(*current.snapshot).await, b"the state");
        }
    }
}

#[tokio::test]
async fn metadata_over_the_bound_is_refused_and_nothing_is_left() {
    let disk = SimFs::new();
    let snapshots = on(&disk).0.snapshots();
    let before = disk.paths();
    let meta = members(5, MAX_SNAPSHOT_META / 4);
    let refused = snapshots.build::<Types>(meta, |out| out.write_all(b"x")).await.err().unwrap();
    assert!(refused.to_string().contains("at most"), "{refused}");
    assert_eq!(disk.paths(), before);
}

#[tokio::test]
async fn a_build_that_fails_leaves_nothing() {
    let disk = SimFs::new();
    let snapshots = on(&disk).0.snapshots();
    let before = disk.paths();
    let build = snapshots.build::<Types>(snapshot_meta(9), |_| Err(io::Error::other("no state")));
    assert!(build.await.err().unwrap().to_string().contains("no state"));
    assert_eq!(disk.paths(), before);
}
