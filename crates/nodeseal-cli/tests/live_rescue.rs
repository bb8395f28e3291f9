//! A genuine dockerd and folders that it cannot use any more: what is salvaged, and what went through
//! the native store, it starts from.
//!
//! Needs Debian's `docker.io` and root; skips, and says so, where either is missing.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "live/daemon.rs"]
#[allow(dead_code, reason = "not every test uses all of it")]
mod daemon;
#[path = "../../../tests/support/segment.rs"]
mod segment;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use daemon::{Daemon, Docker};
use nodeseal::UnlockKey;
use nodeseal::swarm::State;
use segment::{ENTRY, Frame};
use serde_json::Value;
use tempfile::TempDir;

/// A cluster as dockerd left it, kept aside, so that it can be damaged again and again.
struct Kept<'a> {
    daemon: Daemon<'a>,
    key: Option<String>,
    secrets: Vec<Value>,
    services: Vec<Value>,
    aside: TempDir,
}

fn copy(from: &Path, to: &Path) {
    let status =
        Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

fn sorted(secrets: Value) -> Vec<Value> {
    secrets.as_array().unwrap().clone()
}

fn names(secrets: &[Value]) -> Vec<&str> {
    let mut names: Vec<_> =
        secrets.iter().map(|one| one["Spec"]["Name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

impl<'a> Kept<'a> {
    fn new(mut daemon: Daemon<'a>, locked: bool) -> Self {
        let key = locked.then(|| daemon.unlock_key());
        let secrets = sorted(daemon.secrets());
        let none = daemon.docker(&["service", "ls", "-q"]).is_empty();
        let services = if none { Vec::new() } else { daemon.services() };
        daemon.stop();
        let aside = tempfile::tempdir().unwrap();
        copy(&daemon.swarm(), &aside.path().join("whole"));
        Self { daemon, key, secrets, services, aside }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.aside.path().join(name)
    }

    /// `nodeseal swarm WHAT…`.
    fn run(&self, what: &[&str], state_dir: &Path) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nodeseal"));
        command.arg("swarm").args(what).arg("--state-dir").arg(state_dir);
        if let Some(key) = &self.key {
            segment::replace(&self.path("key"), key.as_bytes());
            command.arg("--unlock-key-file").arg(self.path("key"));
        }
        command.output().unwrap()
    }

    /// Puts the whole folder where the daemon has it, and damages it.
    fn damage(&self, damage: impl FnOnce(&Path)) {
        let dir = self.daemon.swarm();
        fs::remove_dir_all(&dir).unwrap();
        copy(&self.path("whole"), &dir);
        damage(&dir);
    }

    /// What dockerd makes of the folder that stands there.
    fn refuses(&mut self) {
        self.daemon.start();
        if let Some(key) = &self.key {
            self.daemon.unlock(key);
        }
        self.daemon.wait("dockerd gives up", |daemon| daemon.state() == "error");
        self.daemon.stop();
    }

    /// Salvages the folder in its place; gives what the command told.
    fn salvage(&self) -> String {
        let (dir, to) = (self.daemon.swarm(), self.path("saved"));
        let output = self.run(&["salvage", "--to", to.to_str().unwrap()], &dir);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 4)), "{told}\n{error}");
        fs::remove_dir_all(&dir).unwrap();
        copy(&to, &dir);
        fs::remove_dir_all(to).unwrap();
        told
    }

    /// dockerd starts and has all secrets but these, unchanged; it writes on, and our reader reads
    /// what it wrote.
    fn goes_on_without(&mut self, lost: &[&str]) {
        self.daemon.start();
        if let Some(key) = &self.key {
            self.daemon.wait("it is locked", |daemon| daemon.state() == "locked");
            let wrong = UnlockKey::generate().unwrap();
            assert!(!self.daemon.unlock(&wrong.to_text()));
            assert!(self.daemon.unlock(key));
        }
        self.daemon.ready();
        let there = sorted(self.daemon.secrets());
        let name = |one: &&Value| lost.contains(&one["Spec"]["Name"].as_str().unwrap());
        let left: Vec<_> = self.secrets.iter().filter(|one| !name(one)).cloned().collect();
        assert_eq!(names(&there), names(&left));
        assert_eq!(there, left);
        self.daemon.create_secret("later", "env=prod", b"written after the rescue");
        self.daemon.stop();
        let key = self.key.as_deref().map(|text| UnlockKey::from_text(text).unwrap());
        let state = State::read(self.daemon.swarm(), key.as_ref()).unwrap();
        assert!(state.is_complete(), "{:?}", state.findings);
        assert_eq!(state.objects.secrets.len(), left.len() + 1);
        let later = state.objects.secrets.values().find(|one| one.facts.name == "later").unwrap();
        assert_eq!(later.payload.expose(), b"written after the rescue");
    }
}

fn wal(dir: &Path) -> PathBuf {
    segment::only(dir)
}

/// The number of the frame of the entry that made a secret.
fn entry_of(secrets: &[Value], name: &str, frames: &[Frame]) -> usize {
    let secret = secrets.iter().find(|one| one["Spec"]["Name"] == name).unwrap();
    let index = secret["Version"]["Index"].as_u64().unwrap() + 1;
    frames.iter().position(|frame| frame.kind == ENTRY && frame.index() == index).unwrap()
}

#[test]
fn after_each_fault_of_the_log_dockerd_starts_from_what_was_salvaged() {
    let Some(docker) = Docker::find() else { return };
    let daemon = docker.daemon(1);
    daemon.init(&["--autolock"]);
    for name in ["f1", "f2", "f3"] {
        daemon.create_secret(name, "env=prod", format!("payload of {name}").as_bytes());
    }
    let mut kept = Kept::new(daemon, true);
    let frames = segment::frames(&wal(&kept.path("whole")));
    let [second, third] = ["f2", "f3"].map(|name| entry_of(&kept.secrets, name, &frames));
    let (second, third) = (&frames[second], &frames[third]);
    let end = frames.last().unwrap().range.end;

    // Dockerd does not start from these, or panics (W10).
    type Damage<'a> = Box<dyn Fn(&Path) + 'a>;
    let faults: [(&str, &[&str], bool, Damage<'_>); 6] = [
        (
            "a bit in the middle",
            &["f2"],
            true,
            Box::new(|wal| segment::flip(wal, second.range.start + 60)),
        ),
        (
            "a bit in the last entry",
            &["f3"],
            false,
            Box::new(|wal| {
                segment::flip(wal, third.range.start + 60);
            }),
        ),
        (
            "cut inside the last entry",
            &["f3"],
            false,
            Box::new(|wal| {
                segment::cut(wal, third.range.end - 60);
            }),
        ),
        (
            "garbage where the next length word would be",
            &[],
            false,
            Box::new(|wal| {
                segment::overwrite(wal, end, &[0xa5; 64]);
            }),
        ),
        (
            "a huge length word",
            &["f2"],
            false,
            Box::new(|wal| {
                segment::overwrite(wal, second.range.start, &[0xff; 7]);
            }),
        ),
        (
            "an index gap",
            &["f2"],
            false,
            Box::new(|wal| {
                let mut gap = frames.clone();
                gap.retain(|frame| frame.range != second.range);
                segment::replace(wal, &segment::encode(&gap, 0).0);
            }),
        ),
    ];
    for (what, lost, refused, damage) in faults {
        eprintln!("{what}");
        kept.damage(|dir| damage(&wal(dir)));
        if refused {
            kept.refuses();
        }
        let told = kept.salvage();
        // Where nothing is lost, something may have been.
        assert!(lost.is_empty() || told.contains("lost:"), "{what}: {told}");
        kept.goes_on_without(lost);
    }
}

/// W11: after a rotation the only snapshot has all that the old key sealed.
#[test]
fn after_the_loss_of_log_or_snapshot_dockerd_starts_from_what_was_salvaged() {
    let Some(docker) = Docker::find() else { return };
    let daemon = docker.daemon(1);
    daemon.init(&[]);
    daemon.create_secret("early", "env=prod", b"sealed under the first key");
    daemon.docker(&["swarm", "update", "--autolock=true"]);
    // The rotation ends with a snapshot.
    let snapshots = daemon.swarm().join("raft/snap-v3-encrypted");
    daemon.wait("the rotation is over", |_| {
        fs::read_dir(&snapshots).is_ok_and(|names| names.count() == 1)
    });
    daemon.create_secret("late", "env=prod", b"sealed under the second key");
    let mut kept = Kept::new(daemon, true);

    let snapshot = |dir: &Path| {
        let names = fs::read_dir(dir.join("raft/snap-v3-encrypted")).unwrap();
        names.map(|name| name.unwrap().path()).next().unwrap()
    };
    kept.damage(|dir| segment::flip(&snapshot(dir), 2000));
    kept.refuses();
    let told = kept.salvage();
    assert!(told.contains("CA's private key"), "{told}");
    kept.goes_on_without(&["early"]);

    kept.damage(|dir| fs::remove_dir_all(wal(dir).parent().unwrap()).unwrap());
    let told = kept.salvage();
    assert!(told.contains("lost:"), "{told}");
    kept.goes_on_without(&["late"]);
}

#[test]
fn dockerd_starts_from_what_went_through_the_native_store() {
    let Some(docker) = Docker::find() else { return };
    for locked in [true, false] {
        let daemon = docker.daemon(1);
        // So that there is a snapshot and a log behind it.
        let options: &[&str] = if locked { &["--autolock"] } else { &[] };
        daemon.init(&[options, &["--snapshot-interval", "12"]].concat());
        for n in 0..8 {
            let name = format!("secret{n}");
            daemon.create_secret(&name, "env=prod", format!("payload {n}").as_bytes());
        }
        let service = ["service", "create", "-d", "--no-resolve-image", "--replicas=0"];
        let secret = ["--name", "web", "--secret", "source=secret1,target=db,mode=0400"];
        daemon.docker(&[&service[..], &secret, &["local/none"]].concat());
        let mut kept = Kept::new(daemon, locked);

        let (dir, native) = (kept.daemon.swarm(), kept.path("native"));
        let attestation = kept.path("attestation");
        let attestation = attestation.to_str().unwrap();
        let done = |output: Output| {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        done(kept.run(&["export", "--to", native.to_str().unwrap()], &dir));
        fs::remove_dir_all(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        done(kept.run(&["import", "--from", native.to_str().unwrap()], &dir));
        done(kept.run(&["attest", "--attestation", attestation], &dir));
        kept.goes_on_without(&[]);
        // What dockerd added is no fault.
        done(kept.run(&["verify", "--attestation", attestation], &dir));
        kept.daemon.start();
        if let Some(key) = &kept.key {
            assert!(kept.daemon.unlock(key));
        }
        kept.daemon.ready();
        assert_eq!(kept.daemon.services(), kept.services);
        // While it runs, its folder is left alone.
        let busy = kept.run(&["export", "--to", kept.path("other").to_str().unwrap()], &dir);
        assert!(!busy.status.success() && !kept.path("other").exists());
        kept.daemon.stop();
    }
}
