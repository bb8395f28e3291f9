//! Every command that changes a manager's folder or makes another one, killed in the middle of its work,
//! over and over, on the real file system.
//!
//! Each four times; with `NODESEAL_LONG` in the environment, 400 times, in up to five minutes a command.
//! That was done for the changes (rotate-unlock-key, rotate-dek, lock, autolock-off, finish-rotation,
//! force-new-cluster): 2,800 kills, and what was there opened after each.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "../../../tests/support/capture.rs"]
mod capture;
#[path = "live/states.rs"]
mod states;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use capture::Capture;
use nodeseal::swarm::{Change, Manager, State, leftovers};
use nodeseal::{Error, UnlockKey};
use tempfile::TempDir;

type Secrets = BTreeMap<String, Vec<u8>>;

/// What a command does.
#[derive(Clone, Copy)]
enum Does {
    /// Changes the folder.
    Change,
    /// Changes the folder, which has another unlock key then.
    Lock,
    /// Makes another folder of it, which is a manager's.
    Make,
    /// Makes another folder, out of which `import` makes a manager's.
    Export,
    /// Makes another folder, which is a manager's without the payloads.
    Redact,
    /// Makes a manager's folder out of that which `export` made.
    Import,
}

struct Case {
    words: &'static [&'static str],
    capture: &'static str,
    does: Does,
}

/// A capture's folder, and what is made of it and beside it in a round.
struct Work {
    capture: Capture,
    case: &'static Case,
    key: Option<String>,
    secrets: Secrets,
    files: TempDir,
}

fn secrets(dir: &Path, key: Option<&str>) -> Result<Secrets, Error> {
    let key = key.map(|text| UnlockKey::from_text(text).unwrap());
    let state = State::read(dir, key.as_ref())?;
    assert!(state.is_complete(), "{:?}", state.findings);
    let all = state.objects.secrets.into_values();
    Ok(all.map(|one| (one.facts.name, one.payload.expose().to_vec())).collect())
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

/// `nodeseal swarm WHAT… --state-dir DIR`, with the unlock key in `file`.
fn spawn(words: &[&str], dir: &Path, key: Option<&str>, file: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodeseal"));
    command.arg("swarm").args(words).arg("--state-dir").arg(dir);
    if let Some(key) = key {
        write(file, key);
        command.arg("--unlock-key-file").arg(file);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The files of a folder and those of its folders: length and content, of which there is less than
/// this, but for the zeros of a segment.
fn content(dir: &Path) -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
    const LONGEST: u64 = 8 << 20;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), PathBuf::from(entry.file_name()));
        if path.is_dir() {
            files.extend(content(&path).into_iter().map(|(below, file)| (name.join(below), file)));
        } else {
            let (mut bytes, len) = (Vec::new(), entry.metadata().unwrap().len());
            fs::File::open(&path).unwrap().take(LONGEST).read_to_end(&mut bytes).unwrap();
            assert!(len < LONGEST || bytes.ends_with(&[0; 4096]));
            files.insert(name, (len, bytes));
        }
    }
    files
}

impl Work {
    fn new(case: &'static Case) -> Self {
        let capture = Capture::unpack(case.capture);
        let key = capture.expected["unlock_key"].as_str().filter(|text| !text.is_empty());
        let key = key.map(str::to_owned);
        let secrets = secrets(&capture.dir(), key.as_deref()).unwrap();
        let work = Self { capture, case, key, secrets, files: tempfile::tempdir().unwrap() };
        match case.words[0] {
            "finish-rotation" => work.rotate_half(),
            "clean" => work.leave_things(),
            "import" => {
                let native = work.file("native");
                let words = ["export", "--to", native.to_str().unwrap()];
                assert!(work.run(&words, &work.capture.dir(), work.key.as_deref()));
            }
            _ => {}
        }
        work
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn run(&self, words: &[&str], dir: &Path, key: Option<&str>) -> bool {
        spawn(words, dir, key, &self.file("key")).wait().unwrap().success()
    }

    /// Leaves it with a rotation that was interrupted when the key file had two DEKs.
    fn rotate_half(&self) {
        let key = self.capture.key();
        let half = states::half_done(&states::load(&self.capture.dir()), |disk| {
            let dir = Path::new(states::SOURCE);
            let manager = Manager::open_in(states::shared(disk), dir, key.as_ref());
            let _ = manager.and_then(|manager| manager.apply(Change::RotateDek, &mut |_| {}));
        });
        states::store(&half, Path::new(states::SOURCE), &self.capture.dir());
    }

    /// Leaves in it what crashes leave.
    fn leave_things(&self) {
        for n in 0..20 {
            let file = self.capture.dir().join(format!("certificates/.tmp-swarm-node.key{n}"));
            write(&file, &"what was there ".repeat(5000));
        }
    }

    /// A copy of the folder, nothing beside it.
    fn begin(&self) -> PathBuf {
        let round = self.file("round");
        if round.exists() {
            fs::remove_dir_all(&round).unwrap();
        }
        fs::create_dir(&round).unwrap();
        let copy = Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(self.capture.dir())
            .arg(&round)
            .status();
        assert!(copy.unwrap().success());
        round
    }

    fn begin_command(&self, round: &Path) -> Child {
        let [dir, made, new, native] = ["swarm", "made", "new", "../native"].map(|n| round.join(n));
        let option =
            |name: &'static str, path: &Path| [name.to_owned(), path.to_str().unwrap().into()];
        let (options, dir) = match self.case.does {
            Does::Change => (Vec::new(), dir),
            Does::Lock => (option("--new-unlock-key-file", &new).to_vec(), dir),
            Does::Make | Does::Export | Does::Redact => (option("--to", &made).to_vec(), dir),
            Does::Import => (option("--from", &native).to_vec(), made),
        };
        let options = options.iter().map(String::as_str);
        let words: Vec<&str> = self.case.words.iter().copied().chain(options).collect();
        spawn(&words, &dir, self.key.as_deref(), &self.file("key"))
    }

    /// Whether the command has changed anything for its user, after it was looked at whether all is
    /// well.
    fn check(&self, round: &Path, ended_well: bool, second: Duration) -> bool {
        match self.case.does {
            Does::Change | Does::Lock => self.check_change(round, ended_well, second),
            _ => self.check_made(round, ended_well),
        }
    }

    fn check_change(&self, round: &Path, ended_well: bool, second: Duration) -> bool {
        let dir = &round.join("swarm");
        // It may have been killed before it had written all of it.
        let new = fs::read_to_string(round.join("new")).ok();
        let new = new.map(|text| text.trim().to_owned());
        let (found, key) = match secrets(dir, self.key.as_deref()) {
            Ok(found) => (found, &self.key),
            Err(Error::WrongKey | Error::KeyRequired) => {
                (secrets(dir, new.as_deref()).unwrap(), &new)
            }
            Err(error) => panic!("{error}"),
        };
        assert!(found == self.secrets);
        let locks = matches!(self.case.does, Does::Lock);
        assert!(!(ended_well && locks) || *key == new, "the old key must not open it any more");
        let changed = content(dir) != content(&self.capture.dir());
        assert!(changed || !ended_well);
        // A second run that is killed too; one that is not finishes, and nothing lies about then.
        let cleans = self.case.words[0] == "clean";
        let again = if cleans { self.case.words } else { &["rotate-dek"] };
        let mut child = spawn(again, dir, key.as_deref(), &self.file("key"));
        std::thread::sleep(moment(second));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(secrets(dir, key.as_deref()).unwrap() == self.secrets);
        assert!(self.run(again, dir, key.as_deref()));
        assert!(secrets(dir, key.as_deref()).unwrap() == self.secrets);
        let key = key.as_deref().map(|text| UnlockKey::from_text(text).unwrap());
        assert!(leftovers(dir, key.as_ref()).unwrap().is_empty());
        changed
    }

    fn check_made(&self, round: &Path, ended_well: bool) -> bool {
        let (dir, made) = (round.join("swarm"), round.join("made"));
        assert!(content(&dir) == content(&self.capture.dir()), "the folder stays as it is");
        let there = made.exists();
        assert!(there || !ended_well);
        if !there {
            assert!(self.begin_command(round).wait().unwrap().success());
        }
        let beside = fs::read_dir(round).unwrap().map(|entry| entry.unwrap().file_name());
        let mut beside: Vec<_> = beside.collect();
        beside.sort();
        assert_eq!(beside, ["made", "swarm"]);
        let key = self.key.as_deref();
        let found = match self.case.does {
            Does::Export => {
                let back = round.join("back");
                assert!(self.run(&["import", "--from", made.to_str().unwrap()], &back, key));
                secrets(&back, key).unwrap()
            }
            Does::Redact => secrets(&made, None).unwrap(),
            _ => secrets(&made, key).unwrap(),
        };
        let mut expected = self.secrets.clone();
        if matches!(self.case.does, Does::Redact) {
            expected.values_mut().for_each(|payload| payload.fill(0));
        }
        assert!(found == expected);
        there
    }
}

/// Somewhere in this time, more often near its end, where most is written.
fn moment(whole: Duration) -> Duration {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).unwrap();
    whole * u32::from(bytes[0].max(bytes[1])) / 255
}

fn kill(case: &'static Case) {
    let work = Work::new(case);
    // How long it takes when it is left alone.
    let round = work.begin();
    let begun = Instant::now();
    assert!(work.begin_command(&round).wait().unwrap().success());
    let mut whole = begun.elapsed();
    assert!(work.check(&round, true, whole));
    let wanted = if std::env::var_os("NODESEAL_LONG").is_some() { 400 } else { 4 };
    let (mut runs, mut killed, mut changed) = (0, 0, 0);
    while killed < wanted {
        let round = work.begin();
        let mut child = work.begin_command(&round);
        std::thread::sleep(moment(whole));
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        runs += 1;
        // What else the machine does comes and goes.
        if ended.code().is_none() {
            killed += 1;
            whole = whole * 21 / 20;
        } else {
            whole = whole * 4 / 5;
        }
        changed += u32::from(work.check(&round, ended.success(), whole));
        assert!(runs < 10 * wanted, "it is not killed in time");
    }
    println!("{:?}: {runs} runs, {killed} killed, {changed} left something new", case.words);
}

#[test]
fn rotate_unlock_key() {
    kill(&Case { words: &["rotate-unlock-key"], capture: "2-snapshots", does: Does::Lock });
}

#[test]
fn rotate_unlock_key_keep_dek() {
    kill(&Case {
        words: &["rotate-unlock-key", "--keep-dek"],
        capture: "2-snapshots",
        does: Does::Lock,
    });
}

#[test]
fn rotate_dek() {
    kill(&Case { words: &["rotate-dek"], capture: "4-dek-rotated", does: Does::Change });
}

#[test]
fn lock() {
    kill(&Case { words: &["lock"], capture: "3-unlocked", does: Does::Lock });
}

#[test]
fn autolock_off() {
    kill(&Case { words: &["autolock-off"], capture: "2-snapshots", does: Does::Change });
}

#[test]
fn finish_rotation() {
    kill(&Case { words: &["finish-rotation"], capture: "2-snapshots", does: Does::Change });
}

#[test]
fn force_new_cluster() {
    kill(&Case { words: &["force-new-cluster"], capture: "three-managers-m1", does: Does::Change });
}

#[test]
fn clean() {
    kill(&Case { words: &["clean", "--remove"], capture: "1-autolocked", does: Does::Change });
}

#[test]
fn salvage() {
    kill(&Case { words: &["salvage"], capture: "2-snapshots", does: Does::Make });
}

#[test]
fn redact() {
    kill(&Case { words: &["redact"], capture: "2-snapshots", does: Does::Redact });
}

#[test]
fn export() {
    kill(&Case { words: &["export"], capture: "2-snapshots", does: Does::Export });
}

#[test]
fn import() {
    kill(&Case { words: &["import"], capture: "2-snapshots", does: Does::Import });
}
