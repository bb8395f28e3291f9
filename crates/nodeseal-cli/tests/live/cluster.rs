//! A cluster as dockerd made it, its manager stopped: what the command does to the folder, and whether
//! dockerd goes on with it.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nodeseal::UnlockKey;
use nodeseal::secret::SecretKey;
use nodeseal::swarm::{KeyFile, NodeKeys, State};
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Daemon, Docker};
use crate::{search, segment};

/// What dockerd says that it holds.
#[derive(Clone, Default)]
pub(crate) struct Content {
    /// By name.
    pub(crate) payloads: BTreeMap<String, Vec<u8>>,
    pub(crate) secrets: Vec<Value>,
    services: Vec<Value>,
}

impl Content {
    /// Without these secrets.
    pub(crate) fn lose(&mut self, lost: &[&str]) {
        let stays = |name: &str| !lost.contains(&name);
        self.payloads.retain(|name, _| stays(name));
        self.secrets.retain(|one| stays(one["Spec"]["Name"].as_str().unwrap()));
    }
}

pub(crate) struct Cluster<'a> {
    pub(crate) daemon: Daemon<'a>,
    /// Its unlock key, if it is locked.
    pub(crate) key: Option<String>,
    pub(crate) content: Content,
    files: TempDir,
}

/// At least 60 bytes, so that it is found where it stands.
pub(crate) fn payload(n: usize) -> Vec<u8> {
    format!("payload number {n:05} of a secret that must not be seen; {}", "x".repeat(n * 37))
        .into()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    let status =
        Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

impl<'a> Cluster<'a> {
    pub(crate) fn make(docker: &'a Docker, locked: bool) -> Self {
        let daemon = docker.daemon(1);
        daemon.init(if locked { &["--autolock"] } else { &[] });
        Self::fill(daemon)
    }

    /// Secrets and a service; then it stops.
    pub(crate) fn fill(daemon: Daemon<'a>) -> Self {
        let all = (0..6).map(|n| (format!("secret{n}"), payload(n)));
        let mut payloads = BTreeMap::new();
        for (name, payload) in all {
            daemon.create_secret(&name, "env=prod", &payload);
            payloads.insert(name, payload);
        }
        daemon.docker(&[
            "service",
            "create",
            "-d",
            "--no-resolve-image",
            "--name",
            "web",
            "--secret",
            "source=secret1,target=db,uid=1000,mode=0400",
            "--replicas=0",
            "local/none",
        ]);
        daemon.docker(&["secret", "rm", "secret5"]);
        payloads.remove("secret5");
        Self::stop(daemon, payloads)
    }

    /// Asks the daemon what it holds, which are these secrets, and stops it.
    pub(crate) fn stop(mut daemon: Daemon<'a>, payloads: BTreeMap<String, Vec<u8>>) -> Self {
        let key = daemon.unlock_key();
        let (secrets, services) = (daemon.secrets(), daemon.services());
        assert_eq!(secrets.len(), payloads.len());
        daemon.stop();
        Self::with(daemon, key, Content { payloads, secrets, services })
    }

    pub(crate) fn with(daemon: Daemon<'a>, key: Option<String>, content: Content) -> Self {
        Self { daemon, key, content, files: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.daemon.swarm()
    }

    /// A path beside the manager's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Keeps the folder aside.
    pub(crate) fn keep(&self) {
        copy(&self.dir(), &self.file("kept"));
    }

    /// Puts another folder, which goes, in the manager's place.
    pub(crate) fn replace_by(&self, dir: &Path) {
        fs::remove_dir_all(self.dir()).unwrap();
        copy(dir, &self.dir());
        fs::remove_dir_all(dir).unwrap();
    }

    /// Puts the kept folder back, and damages it.
    pub(crate) fn damage(&self, damage: impl FnOnce(&Path)) {
        fs::remove_dir_all(self.dir()).unwrap();
        copy(&self.file("kept"), &self.dir());
        damage(&self.dir());
    }

    /// Runs `nodeseal swarm WHAT…` on the folder.
    pub(crate) fn run(&self, what: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nodeseal"));
        command.arg("swarm").args(what).arg("--state-dir").arg(self.dir());
        if let Some(key) = &self.key {
            segment::replace(&self.file("key"), key.as_bytes());
            command.arg("--unlock-key-file").arg(self.file("key"));
        }
        command.output().unwrap()
    }

    /// As [`Cluster::run`], of what succeeds; gives what it told on standard output.
    pub(crate) fn done(&self, what: &[&str]) -> String {
        let output = self.run(what);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what:?}: {told}");
        assert!(!told.contains("found before"), "{told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// As [`Cluster::done`], of what sets another unlock key.
    pub(crate) fn done_with_new_key(&mut self, what: &[&str]) {
        use std::os::unix::fs::PermissionsExt;
        let file = self.file("new");
        self.done(&[what, &["--new-unlock-key-file", file.to_str().unwrap()]].concat());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let new = fs::read_to_string(&file).unwrap().trim().to_owned();
        fs::remove_file(file).unwrap();
        assert_ne!(self.key.as_ref(), Some(&new));
        self.key = Some(new);
    }

    pub(crate) fn parsed_key(&self) -> Option<UnlockKey> {
        self.key.as_deref().map(|text| UnlockKey::from_text(text).unwrap())
    }

    pub(crate) fn deks(&self) -> NodeKeys {
        let text = fs::read(self.dir().join("certificates/swarm-node.key")).unwrap();
        let file = KeyFile::parse(&text).unwrap();
        assert_eq!(file.locked(), self.key.is_some());
        assert!(!file.needs_rotation());
        file.unlock(self.parsed_key().as_ref()).unwrap()
    }

    /// The DEK, of which there is no other.
    pub(crate) fn dek(&self) -> SecretKey {
        let keys = self.deks();
        assert!(keys.pending.is_none());
        keys.current.unwrap()
    }

    /// What our own reader finds is what was stored.
    pub(crate) fn holds_all(&self) -> State {
        let state = State::read(self.dir(), self.parsed_key().as_ref()).unwrap();
        assert!(state.is_complete(), "{:?}", state.findings);
        let secrets = state.objects.secrets.values();
        let found: BTreeMap<_, _> =
            secrets.map(|one| (one.facts.name.clone(), one.payload.expose().to_vec())).collect();
        assert!(found == self.content.payloads, "{:?}", found.keys());
        state
    }

    /// As [`Cluster::holds_all`]; and the cluster's unlock key is the key file's.
    pub(crate) fn read(&self) {
        let state = self.holds_all();
        let cluster = state.objects.clusters.values().next().unwrap();
        match (cluster.unlock_key(), self.parsed_key()) {
            (Some(one), Some(other)) => assert!(one.ct_eq(&other)),
            (None, None) => {}
            _ => panic!("the cluster's unlock key is not the key file's"),
        }
        assert_eq!(cluster.facts.autolock, self.key.is_some());
    }

    /// Nothing in the folder opens with `dek`, and nothing stands in the clear: neither payloads nor
    /// unlock keys, `kek` being a former one, nor `dek`.
    pub(crate) fn nothing_is_left_of(&self, dek: &SecretKey, kek: Option<&str>) {
        assert_eq!(search::opened_by(&self.dir(), dek), Vec::<PathBuf>::new());
        assert_eq!(search::holding(&self.dir(), dek.expose()), Vec::<PathBuf>::new());
        self.nothing_is_in_the_clear(&self.dir(), kek);
    }

    pub(crate) fn nothing_is_in_the_clear(&self, dir: &Path, kek: Option<&str>) {
        let payloads = self.content.payloads.values().map(|payload| payload[..40].to_vec());
        let keys = kek.into_iter().chain(self.key.as_deref());
        let keys = keys.map(|key| UnlockKey::from_text(key).unwrap().secret().expose().to_vec());
        for secret in payloads.chain(keys) {
            assert_eq!(search::holding(dir, &secret), Vec::<PathBuf>::new());
        }
    }

    /// dockerd starts, is unlocked with the key and with no other, and has everything; it goes on
    /// writing, takes snapshots, starts again, and our reader reads all of it.
    pub(crate) fn goes_on(&mut self, wrong: Option<&str>) {
        self.start(wrong);
        assert_eq!(self.daemon.unlock_key(), self.key);
        let before = self.snapshots();
        self.daemon.docker(&["swarm", "update", "--snapshot-interval", "5"]);
        for n in 10..22 {
            let (name, payload) = (format!("later{n}"), payload(n));
            self.daemon.create_secret(&name, "env=later", &payload);
            self.content.payloads.insert(name, payload);
        }
        self.daemon.docker(&["secret", "rm", "later10"]);
        self.content.payloads.remove("later10");
        self.content.secrets = self.daemon.secrets();
        self.daemon.stop();
        assert_ne!(self.snapshots(), before, "dockerd took a snapshot");
        self.read();
        self.start(wrong);
        self.daemon.stop();
        self.read();
    }

    fn snapshots(&self) -> Vec<OsString> {
        let names = fs::read_dir(self.dir().join("raft/snap-v3-encrypted")).unwrap();
        let mut names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
        names.sort();
        names
    }

    /// dockerd starts, is unlocked with the key and not with `wrong`, and has everything.
    pub(crate) fn start(&mut self, wrong: Option<&str>) {
        self.join(wrong);
        assert_eq!(self.daemon.secrets(), self.content.secrets);
        assert_eq!(self.daemon.services(), self.content.services);
    }

    /// As [`Cluster::start`], of one that may not have had the last of it from the others yet.
    pub(crate) fn join(&mut self, wrong: Option<&str>) {
        self.daemon.start();
        if let Some(key) = &self.key {
            assert_eq!(self.daemon.state(), "locked");
            if let Some(wrong) = wrong {
                assert!(!self.daemon.unlock(wrong), "another unlock key must not be taken");
            }
            assert!(self.daemon.unlock(key), "the unlock key must be taken");
        }
        self.daemon.ready();
    }

    /// dockerd does not start from the folder.
    pub(crate) fn is_refused(&mut self) {
        self.daemon.start();
        if let Some(key) = &self.key {
            self.daemon.unlock(key);
        }
        self.daemon.wait("dockerd gives up", |daemon| daemon.state() == "error");
        self.daemon.stop();
    }
}
