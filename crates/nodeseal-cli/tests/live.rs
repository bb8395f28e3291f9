//! A genuine dockerd before and after: it makes a cluster and stops, the command changes the
//! cluster's folder, and dockerd goes on with it.
//!
//! Needs Debian's `docker.io` and root; skips, and says so, where either is missing. That is dockerd
//! 20.10 or 26.1; the latter was also driven by hand in a chroot of Debian 13 (26.1.5): rotate-unlock-key,
//! rotate-dek, lock, autolock-off and force-new-cluster, with six secrets each. It refused the old
//! unlock key, took the new one and named it, listed the same secrets, wrote nine more with a snapshot
//! every five entries, started again, and all 15 were read.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "live/daemon.rs"]
mod daemon;
#[path = "live/search.rs"]
mod search;
#[path = "live/states.rs"]
mod states;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use daemon::{Daemon, Docker};
use nodeseal::secret::SecretKey;
use nodeseal::swarm::{Change, KeyFile, State};
use nodeseal::{Rekey, UnlockKey};
use tempfile::TempDir;

/// A cluster as dockerd made it, stopped.
struct Cluster<'a> {
    daemon: Daemon<'a>,
    /// Its unlock key, if it is locked.
    key: Option<String>,
    payloads: Vec<(String, Vec<u8>)>,
    secrets: serde_json::Value,
    services: Vec<serde_json::Value>,
    keys: TempDir,
}

fn payload(n: usize) -> Vec<u8> {
    format!("payload number {n:05} of a secret that must not be seen; {}", "x".repeat(n * 37))
        .into()
}

impl<'a> Cluster<'a> {
    fn make(docker: &'a Docker, locked: bool) -> Self {
        let daemon = docker.daemon(1);
        daemon.init(if locked { &["--autolock"] } else { &[] });
        Self::fill(daemon, locked)
    }

    /// Secrets and a service; then it stops.
    fn fill(mut daemon: Daemon<'a>, locked: bool) -> Self {
        let payloads: Vec<_> = (0..6).map(|n| (format!("secret{n}"), payload(n))).collect();
        for (name, payload) in &payloads {
            daemon.create_secret(name, "env=prod", payload);
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
        let key = locked.then(|| daemon.unlock_key());
        let (secrets, services) = (daemon.secrets(), daemon.services());
        daemon.stop();
        let keys = tempfile::tempdir().unwrap();
        let mut cluster = Self { daemon, key, payloads, secrets, services, keys };
        cluster.payloads.pop();
        cluster
    }

    fn dir(&self) -> PathBuf {
        self.daemon.swarm()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    /// Runs `nodeseal swarm WHAT…` on the folder.
    fn run(&self, what: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nodeseal"));
        command.arg("swarm").args(what).arg("--state-dir").arg(self.dir());
        if let Some(key) = &self.key {
            // The clippy rule is for the library, whose files pass its seam.
            #[expect(clippy::disallowed_methods, reason = "a test's own file")]
            std::fs::write(self.file("old"), key).unwrap();
            command.arg("--unlock-key-file").arg(self.file("old"));
        }
        command.output().unwrap()
    }

    fn change(&self, what: &[&str]) {
        let output = self.run(what);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what:?}: {told}");
        assert!(!told.contains("found before"), "{told}");
    }

    fn dek(&self) -> SecretKey {
        let text = std::fs::read(self.dir().join("certificates/swarm-node.key")).unwrap();
        let file = KeyFile::parse(&text).unwrap();
        assert_eq!(file.locked(), self.key.is_some());
        let keys = file.unlock(self.parsed_key().as_ref()).unwrap();
        assert!(keys.pending.is_none() && !file.needs_rotation());
        keys.current.unwrap()
    }

    fn parsed_key(&self) -> Option<UnlockKey> {
        self.key.as_deref().map(|text| UnlockKey::from_text(text).unwrap())
    }

    /// What our own reader finds is what was stored.
    fn read(&self) {
        let state = State::read(self.dir(), self.parsed_key().as_ref()).unwrap();
        assert!(state.is_complete(), "{:?}", state.findings);
        assert_eq!(state.objects.secrets.len(), self.payloads.len());
        for (name, payload) in &self.payloads {
            let mut secrets = state.objects.secrets.values();
            let secret = secrets.find(|secret| secret.facts.name == *name).unwrap();
            assert!(secret.payload.expose() == &payload[..], "{name}");
        }
        let cluster = state.objects.clusters.values().next().unwrap();
        match (cluster.unlock_key(), self.parsed_key()) {
            (Some(one), Some(other)) => assert!(one.ct_eq(&other)),
            (None, None) => {}
            _ => panic!("the cluster's unlock key is not the key file's"),
        }
        assert_eq!(cluster.facts.autolock, self.key.is_some());
    }

    /// Nothing on the disk opens with `dek`, and neither payloads nor keys stand in the clear.
    fn nothing_is_left_of(&self, dek: &SecretKey, kek: Option<&str>) {
        let dir = self.dir();
        assert_eq!(search::opened_by(&dir, dek), Vec::<PathBuf>::new());
        let mut secrets: Vec<Vec<u8>> = vec![dek.expose().to_vec()];
        secrets.extend(self.payloads.iter().map(|(_, payload)| payload[..40].to_vec()));
        for key in kek.into_iter().chain(self.key.as_deref()) {
            secrets.push(UnlockKey::from_text(key).unwrap().secret().expose().to_vec());
        }
        for secret in secrets {
            assert_eq!(search::holding(&dir, &secret), Vec::<PathBuf>::new());
        }
    }

    /// dockerd starts, is unlocked with the key and with no other, and has everything; it goes on
    /// writing, takes snapshots, starts again, and our reader reads all of it.
    fn goes_on(&mut self, wrong: Option<&str>) {
        self.start(wrong);
        assert_eq!(self.daemon.secrets(), self.secrets);
        assert_eq!(self.daemon.services(), self.services);
        if let Some(key) = &self.key {
            assert_eq!(self.daemon.unlock_key(), *key);
        }
        self.daemon.docker(&["swarm", "update", "--snapshot-interval", "5"]);
        for n in 10..22 {
            let (name, payload) = (format!("secret{n}"), payload(n));
            self.daemon.create_secret(&name, "env=later", &payload);
            self.payloads.push((name, payload));
        }
        self.daemon.docker(&["secret", "rm", "secret0"]);
        self.payloads.retain(|(name, _)| name != "secret0");
        self.secrets = self.daemon.secrets();
        self.daemon.stop();
        self.read();
        self.start(wrong);
        assert_eq!(self.daemon.secrets(), self.secrets);
        self.daemon.stop();
        self.read();
    }

    fn start(&mut self, wrong: Option<&str>) {
        self.daemon.start();
        if let Some(key) = &self.key {
            assert_eq!(self.daemon.state(), "locked");
            if let Some(wrong) = wrong {
                assert!(!self.daemon.unlock(wrong), "the old unlock key must not be taken");
            }
            assert!(self.daemon.unlock(key), "the unlock key must be taken");
        }
        self.daemon.ready();
    }
}

fn written_key(path: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

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

    let new = cluster.file("new");
    let new_text = new.to_str().unwrap().to_owned();
    let before = search::files(&cluster.dir());
    cluster.change(&["rotate-unlock-key", "--dry-run", "--new-unlock-key-file", &new_text]);
    assert!(!new.exists() && search::files(&cluster.dir()) == before, "planned only");
    cluster.change(&["rotate-unlock-key", "--new-unlock-key-file", &new_text]);
    cluster.key = Some(written_key(&new));
    assert_ne!(cluster.key.as_deref(), Some(&*old));
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
    cluster.payloads.push(("secret9".to_owned(), payload(9)));
    cluster.secrets = cluster.daemon.secrets();
    cluster.daemon.kill();
    cluster.read();
    cluster.change(&["rotate-dek"]);
    cluster.read();
    cluster.nothing_is_left_of(&dek, None);
    let second = cluster.dek();
    cluster.change(&["rotate-dek"]);
    cluster.nothing_is_left_of(&second, None);
    cluster.goes_on(None);
}

#[test]
fn a_manager_is_locked() {
    let Some(docker) = Docker::find() else { return };
    let mut cluster = Cluster::make(&docker, false);
    let dek = cluster.dek();
    let new = cluster.file("new");
    cluster.change(&["lock", "--new-unlock-key-file", new.to_str().unwrap()]);
    cluster.key = Some(written_key(&new));
    cluster.read();
    cluster.nothing_is_left_of(&dek, None);
    cluster.goes_on(None);
}

#[test]
fn autolock_is_switched_off() {
    let Some(docker) = Docker::find() else { return };
    let mut cluster = Cluster::make(&docker, true);
    let (old, dek) = (cluster.key.clone(), cluster.dek());
    cluster.change(&["autolock-off"]);
    cluster.key = None;
    cluster.read();
    cluster.nothing_is_left_of(&dek, old.as_deref());
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
    let mut cluster = Cluster::fill(first, true);
    // Lost, and with it the quorum: dockerd would wait for it without end.
    drop(second);
    let dek = cluster.dek();
    cluster.change(&["force-new-cluster"]);
    cluster.read();
    assert!(cluster.dek().ct_eq(&dek));
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
    let (old, new) = (cluster.key.clone().unwrap(), cluster.file("new"));
    cluster.change(&["rotate-unlock-key", "--new-unlock-key-file", new.to_str().unwrap()]);
    cluster.key = Some(written_key(&new));
    cluster.nothing_is_left_of(&dek, Some(&old));
    cluster.read();
    cluster.start(Some(&old));
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
    let status = |one: &Daemon<'_>| one.docker(&["node", "ls", "--format", "{{.ManagerStatus}}"]);
    first.wait("all three are there", |one| status(one).matches("Reachable").count() == 2);
    // So that what it has is what the others have.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let (secrets, services) = (serde_json::Value::Null, Vec::new());
    let keys = tempfile::tempdir().unwrap();
    let payloads = Vec::new();
    let mut out =
        Cluster { daemon: third, key: Some(key.clone()), payloads, secrets, services, keys };
    out.daemon.stop();
    first.create_secret("meanwhile", "by=first", &payload(9));

    let dek = out.dek();
    out.change(&["rotate-dek"]);
    out.nothing_is_left_of(&dek, None);
    let refused = out.run(&["rotate-unlock-key", "--new-unlock-key-stdout"]);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("of several managers"), "{told}");

    out.start(None);
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

/// Those that dockerd tells apart, six; with `NODESEAL_LONG` in the environment, all, with what power
/// cuts leave: 35, in three minutes, from each of which dockerd 20.10 started with everything.
#[test]
fn dockerd_starts_from_every_state_of_an_interrupted_change() {
    let Some(docker) = Docker::find() else { return };
    let mut cluster = Cluster::make(&docker, true);
    let (old, new) = (cluster.parsed_key().unwrap(), UnlockKey::generate().unwrap());
    let all = std::env::var_os("NODESEAL_LONG").is_some();
    let start = states::load(&cluster.dir());
    let change = Change::RotateUnlockKey { new: &new, rekey: Rekey::NewDek };
    let found = states::interrupted(&start, &old, &new, change, all);
    assert!(found.len() >= 5, "{}", found.len());
    println!("{} distinct states", found.len());
    let (old, new) = (old.to_text(), new.to_text());
    for state in found {
        println!(
            "{}, opens with the {} key",
            state.name,
            if state.new_key { "new" } else { "old" }
        );
        states::store(&state.disk, &cluster.dir());
        let (right, wrong) = if state.new_key { (&new, &old) } else { (&old, &new) };
        cluster.key = Some(right.to_string());
        cluster.start(Some(wrong));
        assert_eq!(cluster.daemon.secrets(), cluster.secrets);
        assert_eq!(cluster.daemon.services(), cluster.services);
        cluster.daemon.stop();
    }
}
