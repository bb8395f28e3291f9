//! A genuine dockerd and folders that it cannot use any more, or that move: what is salvaged, and what
//! went through the native store, it starts from; what is copied or cleaned leaves it as it was.
//!
//! Needs Debian's `docker.io` and root; skips, and says so, where either is missing.

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
use std::path::Path;

use cluster::{Cluster, payload};
use daemon::{Daemon, Docker};
use nodeseal::UnlockKey;
use nodeseal::secret::SecretKey;
use nodeseal::swarm::State;
use segment::{ENTRY, Frame, STATE, only};

/// A cluster that holds these secrets, a copy of its folder kept.
fn kept<'a>(daemon: Daemon<'a>, names: &[&str]) -> Cluster<'a> {
    let payloads = names.iter().map(|name| ((*name).to_owned(), of(name))).collect();
    let cluster = Cluster::stop(daemon, payloads);
    cluster.keep();
    cluster
}

/// Longer than a sector.
fn of(name: &str) -> Vec<u8> {
    [name.as_bytes(), &payload(20)].concat()
}

/// Salvages the damaged folder into its place. Nothing in it opens with the DEK so far.
fn salvage(cluster: &Cluster<'_>, dek: &SecretKey, told: &str) {
    let saved = cluster.file("saved");
    let output = cluster.run(&["salvage", "--to", saved.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    let code = if told.is_empty() { 0 } else { 4 };
    assert_eq!(output.status.code(), Some(code), "{text}\n{error}");
    assert!(text.contains(told), "{text}");
    cluster.replace_by(&saved);
    cluster.nothing_is_left_of(dek, None);
}

/// dockerd goes on from it with all but these.
fn goes_on_without(cluster: &mut Cluster<'_>, lost: &[&str]) {
    let whole = cluster.content.clone();
    cluster.content.lose(lost);
    cluster.read();
    cluster.goes_on(Some(&UnlockKey::generate().unwrap().to_text()));
    cluster.content = whole;
}

/// The entry that made a secret: its index is the secret's version plus one.
fn entry_of<'a>(cluster: &Cluster<'_>, name: &str, frames: &'a [Frame]) -> &'a Frame {
    let mut secrets = cluster.content.secrets.iter();
    let secret = secrets.find(|one| one["Spec"]["Name"] == name).unwrap();
    let index = secret["Version"]["Index"].as_u64().unwrap() + 1;
    frames.iter().find(|frame| frame.kind == ENTRY && frame.index() == index).unwrap()
}

/// A fault: what it is, what is lost, what is told, and whether dockerd refuses to start from it.
type Fault<'a> = (&'a str, &'a [&'a str], &'a str, bool, Box<dyn Fn(&Path) + 'a>);

/// Where nothing is told, there is nothing left that could tell.
#[test]
fn after_each_fault_of_the_log_dockerd_starts_from_what_was_salvaged() {
    let Some(docker) = Docker::find() else { return };
    let daemon = docker.daemon(1);
    daemon.init(&["--autolock"]);
    let names = ["f1", "f2", "f3"];
    for name in names {
        daemon.create_secret(name, "env=prod", &of(name));
    }
    let mut cluster = kept(daemon, &names);
    let dek = cluster.dek();
    let frames = segment::frames(&only(&cluster.dir()));
    let [second, third] = ["f2", "f3"].map(|name| entry_of(&cluster, name, &frames));
    let end = frames.last().unwrap().range.end;
    let last_state = frames.iter().rfind(|frame| frame.kind == STATE).unwrap();
    let sector = (third.range.end - 1) / 512 * 512;
    assert!(sector > third.range.start + 8 && last_state.range.start >= third.range.end);

    let faults: [Fault<'_>; 12] = [
        (
            "a bit in the middle",
            &["f2"],
            "lost:",
            true,
            Box::new(|wal| segment::flip(wal, second.range.start + 60)),
        ),
        (
            "a bit in the last entry",
            &["f3"],
            "lost:",
            true,
            Box::new(|wal| segment::flip(wal, third.range.start + 60)),
        ),
        (
            "cut inside the last entry",
            &["f3"],
            "lost:",
            false,
            Box::new(|wal| segment::cut(wal, third.range.end - 60)),
        ),
        (
            "cut before the last entry",
            &["f3"],
            "",
            false,
            Box::new(|wal| segment::cut(wal, third.range.start)),
        ),
        (
            "the last entry zeroed, and the state behind it not",
            &["f3"],
            "lost:",
            false,
            Box::new(|wal| segment::zero(wal, third.range.clone())),
        ),
        (
            "the last frames zeroed",
            &["f3"],
            "",
            false,
            Box::new(|wal| segment::zero(wal, third.range.start..end)),
        ),
        (
            "zeros from a sector of the last entry on",
            &["f3"],
            "lost:",
            false,
            Box::new(|wal| segment::zero(wal, sector..end)),
        ),
        (
            "the last state zeroed",
            &[],
            "",
            false,
            Box::new(|wal| segment::zero(wal, last_state.range.clone())),
        ),
        (
            "garbage where the next record would be",
            &[],
            "lost:",
            true,
            Box::new(|wal| {
                segment::overwrite(wal, end, &64_u64.to_le_bytes());
                segment::overwrite(wal, end + 8, &[0xa5; 64]);
            }),
        ),
        (
            "garbage behind a zero word",
            &[],
            "",
            false,
            Box::new(|wal| segment::overwrite(wal, end + 8, &[0xa5; 64])),
        ),
        // Dockerd panics at these (W10).
        (
            "a huge length word",
            &["f2"],
            "lost:",
            false,
            Box::new(|wal| segment::overwrite(wal, second.range.start, &[0xff; 7])),
        ),
        (
            "an index gap",
            &["f2"],
            "lost:",
            false,
            Box::new(|wal| {
                let mut gap = frames.clone();
                gap.retain(|frame| frame.range != second.range);
                segment::replace(wal, &segment::encode(&gap, 0).0);
            }),
        ),
    ];
    for (what, lost, told, refused, damage) in faults {
        println!("{what}");
        cluster.damage(|dir| damage(&only(dir)));
        if refused {
            cluster.is_refused();
        }
        salvage(&cluster, &dek, told);
        goes_on_without(&mut cluster, lost);
    }
}

/// W11: after a rotation the only snapshot has all that the old key sealed.
#[test]
fn after_the_loss_of_log_or_snapshot_dockerd_starts_from_what_was_salvaged() {
    let Some(docker) = Docker::find() else { return };
    let daemon = docker.daemon(1);
    daemon.init(&[]);
    daemon.create_secret("early", "under=the first DEK", &of("early"));
    daemon.docker(&["swarm", "update", "--autolock=true"]);
    // The rotation ends with a snapshot.
    let snapshots = daemon.swarm().join("raft/snap-v3-encrypted");
    daemon.wait("the rotation is over", |_| {
        fs::read_dir(&snapshots).is_ok_and(|names| names.count() == 1)
    });
    daemon.create_secret("late", "under=the second DEK", &of("late"));
    let mut cluster = kept(daemon, &["early", "late"]);
    let dek = cluster.dek();

    let snapshot = |dir: &Path| {
        let names = fs::read_dir(dir.join("raft/snap-v3-encrypted")).unwrap();
        names.map(|name| name.unwrap().path()).next().unwrap()
    };
    cluster.damage(|dir| fs::remove_dir_all(only(dir).parent().unwrap()).unwrap());
    salvage(&cluster, &dek, "lost:");
    goes_on_without(&mut cluster, &["late"]);

    cluster.damage(|dir| segment::flip(&snapshot(dir), 2000));
    cluster.is_refused();
    // The cluster's object was in the snapshot, and dockerd makes another one.
    salvage(&cluster, &dek, "autolock is off then");
    cluster.content.lose(&["early"]);
    cluster.holds_all();
    cluster.start(None);
    cluster.daemon.create_secret("later", "env=later", &of("later"));
    cluster.content.payloads.insert("later".to_owned(), of("later"));
    cluster.content.secrets = cluster.daemon.secrets();
    cluster.daemon.stop();
    cluster.key = None;
    cluster.read();
    cluster.start(None);
}

#[test]
fn dockerd_starts_from_what_went_through_the_native_store() {
    let Some(docker) = Docker::find() else { return };
    for locked in [true, false] {
        let daemon = docker.daemon(1);
        // So that there is a snapshot and a log behind it.
        let options: &[&str] = if locked { &["--autolock"] } else { &[] };
        daemon.init(&[options, &["--snapshot-interval", "7"]].concat());
        let mut cluster = Cluster::fill(daemon);
        let dek = cluster.dek();

        let (native, attestation) = (cluster.file("native"), cluster.file("attestation"));
        let (native, attestation) = (native.to_str().unwrap(), attestation.to_str().unwrap());
        cluster.done(&["export", "--to", native]);
        cluster.nothing_is_in_the_clear(Path::new(native), None);
        fs::remove_dir_all(cluster.dir()).unwrap();
        fs::create_dir(cluster.dir()).unwrap();
        cluster.done(&["import", "--from", native]);
        cluster.read();
        cluster.nothing_is_left_of(&dek, None);
        cluster.done(&["attest", "--attestation", attestation]);
        let wrong = UnlockKey::generate().unwrap();
        cluster.goes_on(Some(&wrong.to_text()));
        // What dockerd added is no fault, nor what it collected.
        cluster.done(&["verify", "--attestation", attestation]);
        // While it runs, its folder is left alone.
        cluster.start(None);
        let other = cluster.file("other");
        for what in ["export", "salvage", "redact"] {
            let busy = cluster.run(&[what, "--to", other.to_str().unwrap()]);
            assert!(!busy.status.success() && !other.exists(), "{what}");
        }
    }
}

#[test]
fn a_redacted_copy_has_the_names_and_nothing_more() {
    let Some(docker) = Docker::find() else { return };
    let mut cluster = Cluster::make(&docker, true);
    let (dek, to) = (cluster.dek(), cluster.file("redacted"));
    let before = search::files(&cluster.dir());
    cluster.done(&["redact", "--to", to.to_str().unwrap()]);
    assert!(search::files(&cluster.dir()) == before, "the original is as it was");
    cluster.nothing_is_in_the_clear(&to, None);
    assert!(
        search::opened_by(&to, &dek).is_empty() && search::holding(&to, dek.expose()).is_empty()
    );
    // It opens without a key.
    let copy = State::read(&to, None).unwrap();
    assert!(copy.is_complete(), "{:?}", copy.findings);
    let secrets = copy.objects.secrets.values();
    let found: BTreeMap<_, _> =
        secrets.map(|one| (one.facts.name.clone(), one.payload.expose().to_vec())).collect();
    let mut hidden = cluster.content.payloads.clone();
    hidden.values_mut().for_each(|payload| payload.fill(0));
    assert!(found == hidden);
    cluster.goes_on(None);
}

/// Some are a killed dockerd's own: a segment that it had prepared, and a copy of the log that it
/// repaired. In the latter is all that was ever sealed under the DEK so far.
#[test]
fn leftovers_go_and_dockerd_goes_on() {
    let Some(docker) = Docker::find() else { return };
    let mut cluster = Cluster::make(&docker, true);
    let wal = only(&cluster.dir());
    let end = segment::frames(&wal).last().unwrap().range.end;
    // A record that was being written: its length is there, and nothing else.
    segment::overwrite(&wal, end, &1024_u64.to_le_bytes());
    cluster.start(None);
    cluster.daemon.kill();
    let stale = cluster.dir().join("certificates/.tmp-swarm-node.key123456");
    segment::replace(&stale, b"-----BEGIN PRIVATE KEY-----");
    let legacy = cluster.dir().join("raft/wal-v3/0000000000000000-0000000000000000.wal");
    fs::create_dir(legacy.parent().unwrap()).unwrap();
    segment::replace(&legacy, &payload(1));
    let left =
        [".wal.broken", ".tmp", ".key123456", "wal-v3/0000000000000000-0000000000000000.wal"];
    let there = |end: &str| {
        let files = search::files(&cluster.dir());
        files.iter().any(|(path, _)| path.to_str().unwrap().ends_with(end))
    };
    assert!(left.iter().all(|end| there(end)), "{:?}", search::files(&cluster.dir()));

    let shown = cluster.done(&["clean", "--dry-run"]);
    assert!(left.iter().all(|end| shown.contains(end) && there(end)), "{shown}");
    cluster.done(&["clean", "--remove"]);
    assert!(!left.iter().any(|end| there(end)));
    cluster.nothing_is_in_the_clear(&cluster.dir(), None);
    cluster.read();
    cluster.goes_on(None);
}
