//! A genuine dockerd before and after: it makes a cluster and stops, the command changes the
//! cluster's folder, and dockerd goes on with it.
//!
//! Needs Debian's `docker.io` and root; skips, and says so, where either is missing. `NODESEAL_DOCKERD`
//! names another dockerd. That of Debian 13 in a chroot, 26.1.5, was such a one, by this script:
//!
//! ```sh
//! #!/bin/sh
//! exec unshare -m sh -c 'mount --rbind /tmp CHROOT/tmp && exec chroot CHROOT dockerd "$@"' dockerd "$@"
//! ```
//!
//! All tests of this file passed with it, and all of `live_rescue.rs` (salvage after each fault, export
//! and import, redact, clean), in ten minutes; and it started from the few states of each command that
//! `live_interrupted.rs` ordinarily takes.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "live/cluster.rs"]
mod cluster;
#[path = "live/daemon.rs"]
mod daemon;
#[path = "live/search.rs"]
mod search;
#[path = "../../../tests/support/segment.rs"]
mod segment;

use std::collections::BTreeMap;
use std::fs;

use cluster::{Cluster, Content, payload};
use daemon::{Daemon, Docker};
use nodeseal::swarm::{DekHeader, DekSlot, KeyFile, State};

#[test]
fn the_unlock_key_is_rotated() {
    let Some(docker) = Docker::find() else { return };
    let mut cluster = Cluster::make(&docker, true);
    let (old, dek) = (cluster.key.clone().unwrap(), cluster.dek());
    assert!(!search::opened_by(&cluster.dir(), &dek).is_empty(), "the search finds what is there");

    // Held by dockerd, it is refused.
    cluster.daemon.start();
    assert!(cluster.daemon.unlock(&old));
    cluster.daemon.ready();
    let busy = cluster.run(&["rotate-dek"]);
    assert!(String::from_utf8_lossy(&busy.stderr).contains("locked by another"), "{busy:?}");
    cluster.daemon.stop();

    let planned = cluster.file("planned");
    let before = search::files(&cluster.dir());
    let dry = ["rotate-unlock-key", "--dry-run", "--new-unlock-key-file"];
    cluster.done(&[&dry[..], &[planned.to_str().unwrap()]].concat());
    assert!(!planned.exists() && search::files(&cluster.dir()) == before, "planned only");
    cluster.done_with_new_key(&["rotate-unlock-key"]);
    cluster.read();
    cluster.nothing_is_left_of(&dek, Some(&old));
    cluster.goes_on(Some(&old));
}

#[test]
fn the_dek_is_rotated() {
    let Some(docker) = Docker::find() else { return };
    let mut cluster = Cluster::make(&docker, true);
    let dek = cluster.dek();
    // Not stopped, but killed.
    cluster.start(None);
    cluster.daemon.create_secret("secret9", "env=prod", &payload(9));
    cluster.content.payloads.insert("secret9".to_owned(), payload(9));
    cluster.content.secrets = cluster.daemon.secrets();
    cluster.daemon.kill();
    cluster.read();
    cluster.done(&["rotate-dek"]);
    cluster.read();
    cluster.nothing_is_left_of(&dek, None);
    let second = cluster.dek();
    cluster.done(&["rotate-dek"]);
    cluster.nothing_is_left_of(&second, None);
    cluster.goes_on(None);
}

#[test]
fn a_manager_is_locked() {
    let Some(docker) = Docker::find() else { return };
    let mut cluster = Cluster::make(&docker, false);
    let dek = cluster.dek();
    cluster.done_with_new_key(&["lock"]);
    cluster.read();
    cluster.nothing_is_left_of(&dek, None);
    cluster.goes_on(None);
}

#[test]
fn autolock_is_switched_off() {
    let Some(docker) = Docker::find() else { return };
    let mut cluster = Cluster::make(&docker, true);
    let (old, dek) = (cluster.key.clone(), cluster.dek());
    cluster.done(&["autolock-off"]);
    cluster.key = None;
    cluster.read();
    cluster.nothing_is_left_of(&dek, old.as_deref());
    cluster.goes_on(None);
}

/// A rotation that dockerd could not end: as long as no snapshot can be written, there are two DEKs.
#[test]
fn a_rotation_that_dockerd_left_half_done_is_finished() {
    let Some(docker) = Docker::find() else { return };
    let daemon = docker.daemon(1);
    daemon.init(&[]);
    let mut payloads = BTreeMap::new();
    for n in 0..3 {
        daemon.create_secret(&format!("early{n}"), "under=the first DEK", &payload(n));
        payloads.insert(format!("early{n}"), payload(n));
    }
    let snapshots = daemon.swarm().join("raft/snap-v3-encrypted");
    fs::remove_dir(&snapshots).unwrap();
    segment::replace(&snapshots, b"no folder");
    let pending = || {
        let text = fs::read(daemon.swarm().join("certificates/swarm-node.key")).unwrap();
        KeyFile::parse(&text).unwrap().dek(DekSlot::Pending) != DekHeader::Absent
    };
    daemon.docker(&["swarm", "update", "--autolock=true"]);
    daemon.wait("the rotation has begun", |_| pending());
    daemon.create_secret("late", "under=the second DEK", &payload(9));
    payloads.insert("late".to_owned(), payload(9));
    assert!(pending());
    let mut cluster = Cluster::stop(daemon, payloads);
    fs::remove_file(&snapshots).unwrap();
    fs::create_dir(&snapshots).unwrap();

    let keys = cluster.deks();
    for dek in [&keys.current, &keys.pending] {
        assert!(!search::opened_by(&cluster.dir(), dek.as_ref().unwrap()).is_empty());
    }
    cluster.done(&["finish-rotation"]);
    cluster.read();
    cluster.nothing_is_left_of(&keys.current.unwrap(), None);
    assert!(cluster.dek().ct_eq(&keys.pending.unwrap()));
    cluster.goes_on(None);
}

#[test]
fn one_of_two_managers_goes_on_alone() {
    let Some(docker) = Docker::find() else { return };
    let first = docker.daemon(1);
    first.init(&["--autolock"]);
    let second = docker.daemon(2);
    second.join(&first);
    second.ready();
    let mut cluster = Cluster::fill(first);
    // Lost, and with it the quorum: dockerd would wait for it without end.
    drop(second);
    let dek = cluster.dek();
    cluster.done(&["force-new-cluster"]);
    cluster.read();
    // Those who are gone knew the DEK of their own only.
    assert!(cluster.dek().ct_eq(&dek));
    cluster.nothing_is_in_the_clear(&cluster.dir(), None);
    cluster.goes_on(None);
    // It leads a cluster of one, from which the other one's node can be removed.
    cluster.start(None);
    let nodes = cluster.daemon.docker(&["node", "ls", "--format", "{{.ID}} {{.ManagerStatus}}"]);
    assert_eq!(nodes.lines().count(), 2, "{nodes}");
    let lost = nodes.lines().find(|line| !line.contains("Leader")).unwrap();
    let lost = lost.split(' ').next().unwrap();
    cluster.daemon.docker(&["node", "rm", "--force", lost]);
    cluster.daemon.stop();
    // Alone, it can have another unlock key.
    let old = cluster.key.clone();
    cluster.done_with_new_key(&["rotate-unlock-key"]);
    cluster.nothing_is_left_of(&dek, old.as_deref());
    cluster.read();
    cluster.start(old.as_deref());
}

#[test]
fn one_of_three_managers_comes_back_with_another_dek() {
    let Some(docker) = Docker::find() else { return };
    let mut first = docker.daemon(1);
    first.init(&["--autolock"]);
    let second = docker.daemon(2);
    second.join(&first);
    let third = docker.daemon(3);
    third.join(&first);
    third.ready();
    first.ready();
    for n in 0..3 {
        first.create_secret(&format!("early{n}"), "by=first", &payload(n));
    }
    let key = first.unlock_key();
    assert!(key.is_some());
    let status = |one: &Daemon<'_>| one.docker(&["node", "ls", "--format", "{{.ManagerStatus}}"]);
    first.wait("all three are there", |one| status(one).matches("Reachable").count() == 2);
    // So that what it has is what the others have.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let mut out = Cluster::with(third, key, Content::default());
    out.daemon.stop();
    first.create_secret("meanwhile", "by=first", &payload(9));

    let dek = out.dek();
    out.done(&["rotate-dek"]);
    out.nothing_is_left_of(&dek, None);
    let refused = out.run(&["rotate-unlock-key", "--new-unlock-key-stdout"]);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("of several managers"), "{told}");

    out.join(None);
    first.wait("it is back", |one| status(one).matches("Reachable").count() == 2);
    first.create_secret("afterwards", "by=first", &payload(10));
    // A quorum needs it now.
    drop(second);
    first.wait("the two go on", |one| one.run(&["secret", "ls"], b"").status.success());
    first.create_secret("last", "by=first", &payload(11));
    std::thread::sleep(std::time::Duration::from_secs(1));
    out.daemon.stop();
    first.stop();
    let state = State::read(out.dir(), out.parsed_key().as_ref()).unwrap();
    assert!(state.is_complete(), "{:?}", state.findings);
    let mut names: Vec<_> = state.objects.secrets.values().map(|one| &*one.facts.name).collect();
    names.sort_unstable();
    let all = ["afterwards", "early0", "early1", "early2", "last", "meanwhile"];
    assert_eq!(names, all);
    assert_eq!(state.objects.members.len(), 3);
}
