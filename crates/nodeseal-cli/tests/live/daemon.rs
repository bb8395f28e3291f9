//! A dockerd of one's own: its own folders, socket and port, on loopback.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a daemon may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// One daemon after the other: they share the machine.
static TURN: Mutex<()> = Mutex::new(());

/// Where programs are; none if there is no dockerd, and then it is said why a test is skipped.
pub(crate) struct Docker {
    dockerd: PathBuf,
    docker: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Docker {
    /// `NODESEAL_DOCKERD` in the environment names another dockerd than the system's.
    pub(crate) fn find() -> Option<Self> {
        let named = std::env::var_os("NODESEAL_DOCKERD").map(PathBuf::from);
        let find = |name: &str, first: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let dirs = std::env::split_paths(&path).map(|dir| dir.join(name));
            [PathBuf::from(first)].into_iter().chain(dirs).find(|file| file.is_file())
        };
        let skipped = |reason: &str| {
            eprintln!("SKIPPED: {reason}");
            None
        };
        // The distribution's client beside its daemon, whatever else is in the path.
        let dockerd = named.or_else(|| find("dockerd", "/usr/sbin/dockerd"));
        let docker = find("docker", "/usr/bin/docker");
        let (Some(dockerd), Some(docker)) = (dockerd, docker) else {
            return skipped("there is no dockerd here (apt-get install docker.io)");
        };
        let id = Command::new("id").arg("-u").output().unwrap();
        if id.stdout != b"0\n" {
            return skipped("dockerd needs root");
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Self { dockerd, docker, _turn: turn })
    }

    /// A daemon with empty folders, running. Those of one cluster have different numbers.
    pub(crate) fn daemon(&self, number: u8) -> Daemon<'_> {
        let mut daemon = self.stopped(number);
        daemon.start();
        daemon
    }

    /// A daemon that was never started.
    pub(crate) fn stopped(&self, number: u8) -> Daemon<'_> {
        let dir = tempfile::tempdir().unwrap();
        // All of 127.0.0.0/8 is this machine's. The port is taken from the system and given back:
        // nobody else draws it in the meantime.
        let host = format!("127.0.0.{number}");
        let port = TcpListener::bind((&*host, 0)).unwrap().local_addr().unwrap().port();
        Daemon { docker: self, dir, child: None, host, port }
    }
}

pub(crate) struct Daemon<'a> {
    docker: &'a Docker,
    dir: TempDir,
    child: Option<Child>,
    host: String,
    port: u16,
}

impl Daemon<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.path("s").display())
    }

    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The folder that holds `certificates` and `raft`.
    pub(crate) fn swarm(&self) -> PathBuf {
        self.path("root/swarm")
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none());
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = Command::new(&self.docker.dockerd)
            .arg("--data-root")
            .arg(self.path("root"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .args(["-H", &self.socket(), "-p"])
            .arg(self.path("pid"))
            .args([
                "--iptables=false",
                "--ip6tables=false",
                "--bridge=none",
                "--storage-driver=vfs",
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        self.wait("the daemon answers", |daemon| daemon.run(&["info"], b"").status.success());
    }

    pub(crate) fn stop(&mut self) {
        self.end("-TERM");
    }

    pub(crate) fn kill(&mut self) {
        self.end("-KILL");
    }

    fn end(&mut self, signal: &str) {
        let Some(mut child) = self.child.take() else { return };
        let _ = Command::new("kill").arg(signal).arg(child.id().to_string()).status();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > PATIENCE {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // Killed, it leaves its containerd and these behind.
        let _ = std::fs::remove_file(self.path("pid"));
        let pid = self.path("exec/containerd/containerd.pid");
        if signal == "-KILL"
            && let Ok(pid) = std::fs::read_to_string(pid)
        {
            // The next one cannot start while it holds its database.
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
            let process = Path::new("/proc").join(pid.trim());
            while process.exists() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(&self.docker.docker)
            .args(["-H", &self.socket()])
            .args(args)
            .env("DOCKER_CONFIG", self.path("config"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// What the command prints; it must succeed.
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        let output = self.run(args, b"");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {args:?}: {error}\n{}", self.log_end());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: not so\n{}", self.log_end());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    pub(crate) fn init(&self, options: &[&str]) {
        let address = self.address();
        let mut args =
            vec!["swarm", "init", "--advertise-addr", &self.host, "--listen-addr", &address];
        args.extend(options);
        self.docker(&args);
    }

    /// Becomes a manager of `first`'s cluster.
    pub(crate) fn join(&self, first: &Self) {
        let token = first.docker(&["swarm", "join-token", "-q", "manager"]);
        let (address, remote) = (self.address(), first.address());
        let options =
            ["--token", &token, "--advertise-addr", &self.host, "--listen-addr", &address, &remote];
        self.docker(&[&["swarm", "join"], &options[..]].concat());
    }

    pub(crate) fn create_secret(&self, name: &str, label: &str, payload: &[u8]) {
        let output = self.run(&["secret", "create", "-l", label, name, "-"], payload);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The cluster's unlock key; none if it is not locked.
    pub(crate) fn unlock_key(&self) -> Option<String> {
        let option = "{{.Swarm.Cluster.Spec.EncryptionConfig.AutoLockManagers}}";
        let locked = self.docker(&["info", "--format", option]) == "true";
        locked.then(|| self.docker(&["swarm", "unlock-key", "-q"]))
    }

    pub(crate) fn state(&self) -> String {
        self.docker(&["info", "--format", "{{.Swarm.LocalNodeState}}"])
    }

    /// Whether this key unlocks it.
    pub(crate) fn unlock(&self, key: &str) -> bool {
        self.run(&["swarm", "unlock"], format!("{key}\n").as_bytes()).status.success()
    }

    /// Waits until the manager leads.
    pub(crate) fn ready(&self) {
        self.wait("the manager leads", |one| {
            one.run(&["node", "ls"], b"").status.success()
                && one.run(&["secret", "ls"], b"").status.success()
        });
    }

    /// All secrets as the daemon shows them, without their payloads.
    pub(crate) fn secrets(&self) -> Vec<Value> {
        self.inspect("secret")
    }

    /// All services as the daemon shows them, without what changes by itself.
    pub(crate) fn services(&self) -> Vec<Value> {
        self.inspect("service").into_iter().map(|mut one| one["Spec"].take()).collect()
    }

    fn inspect(&self, what: &str) -> Vec<Value> {
        let ids = self.docker(&[what, "ls", "-q"]);
        if ids.is_empty() {
            return Vec::new();
        }
        let mut args = vec![what, "inspect"];
        args.extend(ids.split_whitespace());
        let mut all: Vec<Value> = serde_json::from_str(&self.docker(&args)).unwrap();
        all.sort_by_key(|one| one["ID"].as_str().unwrap().to_owned());
        all
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.stop();
        // Folders that a killed daemon left mounted would keep the files.
        let inside = |mount: &str| Path::new(mount).starts_with(self.dir.path());
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            if inside(mount) {
                let _ = Command::new("umount").args(["-l", mount]).status();
            }
        }
    }
}
