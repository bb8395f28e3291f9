//! The main job, one checked fact a line.
//!
//! ```text
//! cargo run --release --features swarm --example quickstart
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
use nodeseal::store::{Change, Options, Step};
use nodeseal::swarm;
use nodeseal::{
    DekId, Error, Identity, Keyring, LockPolicy, LockRecord, Opened, Protector, Reason, Store,
    UnlockKey,
};
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const ENTRIES: usize = 1000;
const PAYLOAD: &str = "correct horse battery staple";

/// Says a fact that was just checked; a fact that does not hold ends the program.
macro_rules! fact {
    ($holds:expr, $($text:tt)+) => {
        if $holds {
            println!("  ok  {}", format_args!($($text)+));
        } else {
            return Err(format!("this does not hold: {}", format_args!($($text)+)).into());
        }
    };
}

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    native(dir.path())?;
    docker_swarm(dir.path())?;
    println!("Every fact above was checked.");
    Ok(())
}

fn native(dir: &Path) -> Result<()> {
    let (keys, raft) = (dir.join("keys"), dir.join("raft"));
    let key_file = keys.join("node.keys");
    let me = Identity::new("prod", "m1")?;

    println!("A node's keys");
    let unlock_key = UnlockKey::generate()?;
    let protector = Protector::unlock_key(&unlock_key);
    let keyring = Keyring::create(&keys, &me, protector, &[("tls-key", PAYLOAD.as_bytes())])?;
    let shown = unlock_key.to_text();
    fact!(Keyring::inspect(&keys)?.is_locked(), "created, locked; unlock key {}", &*shown);

    println!("A sealed log");
    let store = Store::create(&raft, &keyring, Options::new("raft"))?;
    let texts: Vec<String> = (0..ENTRIES).map(|n| format!("{PAYLOAD} {n}")).collect();
    store.apply(entries(1, 1, &texts)?)?;
    let sizes = texts.iter().map(|text| text.len() + RECORD_OVERHEAD).sum::<usize>();
    let sealed = store.stats().deks.values().map(|dek| dek.bytes_sealed).sum::<u64>();
    fact!(
        sealed == u64::try_from(sizes)? && store.stats().fsyncs == 1,
        "{ENTRIES} entries sealed with one fsync, {RECORD_OVERHEAD} bytes longer each"
    );
    let finds = count(&[&raft, &keys], PAYLOAD)? + count(&[&raft, &keys], &shown)?;
    fact!(finds == 0, "disk searched for payload and unlock key, {finds} finds");
    drop((store, keyring));

    println!("A restart");
    let locked = reopen(&keys, &me)?;
    let Err(failed) = locked.unlock(&UnlockKey::generate()?) else {
        return Err("a wrong key unlocked the key file".into());
    };
    fact!(matches!(failed.error, Error::WrongKey), "reopened locked; a wrong key is refused");
    let keyring = failed.locked.unlock(&unlock_key)?;
    let store = Store::open(&raft, &keyring, Options::new("raft"))?;
    fact!(read(&store)? == texts, "unlocked; {ENTRIES} entries opened");
    drop(store);

    println!("An attacker on the disk");
    let (segment, whole) = only_segment(&raft)?;
    put(&segment, &altered(&whole))?;
    let refused = Store::open(&raft, &keyring, Options::new("raft"));
    fact!(matches!(refused, Err(Error::Damaged { .. })), "an entry that was altered is refused");
    put(&segment, &whole)?;
    let store = Store::open(&raft, &keyring, Options::new("raft"))?;
    store.apply(entries(ENTRIES + 1, 1, &["a vote, or an entry"])?)?;
    drop(store);
    let (_, newer) = only_segment(&raft)?;
    put(&segment, &whole)?;
    let refused = Store::open(&raft, &keyring, Options::new("raft"));
    let refused = matches!(refused, Err(Error::RolledBack { what: "log", .. }));
    fact!(refused, "a log that was put back is refused");
    put(&segment, &newer)?;
    moved(&keyring)?;

    println!("Another unlock key");
    let store = Store::open(&raft, &keyring, Options::new("raft"))?;
    let (old_key, old_file, old_log) = (unlock_key, fs::read(&key_file)?, fs::read(&segment)?);
    let unlock_key = UnlockKey::generate()?;
    keyring.reconcile(&LockRecord::locked(1, &unlock_key))?;
    // Behind the entries, in what was preallocated, is now a state with the key file's new epoch.
    let end = old_log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let untouched = fs::read(&segment)?.starts_with(&old_log[..end]);
    fact!(untouched, "changed; no entry was written again");
    store.apply(entries(ENTRIES + 2, 2, &["after the change"])?)?;
    drop((store, keyring));
    let new_file = fs::read(&key_file)?;
    put(&key_file, &old_file)?;
    let thief = reopen(&keys, &me)?.unlock(&old_key)?;
    let opened = Store::open(&raft, &thief, Options::new("raft"));
    fact!(matches!(opened, Err(Error::UnknownDek(_))), "old key file + old key: opens nothing new");
    drop(thief);
    put(&key_file, &new_file)?;
    let refused = reopen(&keys, &me)?.unlock(&old_key).is_err();
    fact!(refused, "the new key file does not open with the old key");
    let keyring = reopen(&keys, &me)?.unlock(&unlock_key)?;

    println!("Another DEK");
    let store = Store::open(&raft, &keyring, Options::new("raft"))?;
    let old: Vec<DekId> = keyring.status().deks.iter().map(|dek| dek.id).collect();
    keyring.rotate_dek(Reason::Requested)?;
    let mut rotation = store.rotation();
    let mut next = ENTRIES + 3;
    while rotation.step()? != Step::Done {
        store.apply(entries(next, 2, &["written while it rotates"])?)?;
        next += 1;
    }
    let mut named = 0;
    for file in files(&raft)? {
        let bytes = fs::read(file)?;
        let names = |id: &DekId| bytes.windows(8).any(|found| found == id.to_bytes());
        named += old.iter().filter(|id| names(id)).count();
    }
    fact!(named == 0, "rotated while writing; the {} old DEKs are named nowhere", old.len());
    let gone = keyring.status().deks.iter().all(|dek| !old.contains(&dek.id));
    fact!(gone, "they are gone from the key file");
    fact!(read(&store)?.len() == next - 1, "all {} entries open", next - 1);
    Ok(())
}

/// Records under their own checks alone, without the store's.
fn moved(keyring: &Keyring) -> Result<()> {
    let (log, term) = (keyring.keyspace("records")?.log(), Era::term(1));
    let mut seventh = [&[0; RECORD_OVERHEAD], PAYLOAD.as_bytes()].concat();
    let mut eighth = seventh.clone();
    log.seal_in_place(LogId::new(7, term), term, &mut seventh)?.durable();
    log.seal_in_place(LogId::new(8, term), term, &mut eighth)?.durable();
    let moved = log.open_in_place(LogId::new(9, term), term, &mut seventh);
    fact!(matches!(moved, Err(Error::Unauthentic)), "a record moved to another index is refused");
    let replaced = log.open_in_place(LogId::new(7, term), term, &mut eighth);
    fact!(matches!(replaced, Err(Error::Unauthentic)), "a record in another's place is refused");
    let opened = log.open_in_place(LogId::new(7, term), term, &mut seventh)?;
    fact!(*opened == *PAYLOAD.as_bytes(), "in its own place it opens");
    drop(log);
    fact!(keyring.forget("records")?, "nothing of it is kept: its keyspace is forgotten");
    Ok(())
}

fn docker_swarm(dir: &Path) -> Result<()> {
    println!("A genuine Docker Swarm manager, autolocked");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/swarm/1-autolocked");
    let unpacked = Command::new("tar")
        .args(["--sparse", "-xJf"])
        .arg(data.join("state.tar.xz"))
        .arg("-C")
        .arg(dir)
        .status()?;
    fact!(unpacked.success(), "its folder, as dockerd left it, unpacked");
    let expected: serde_json::Value =
        serde_json::from_slice(&fs::read(data.join("expected.json"))?)?;
    let folder = dir.join("swarm");

    let without = swarm::State::read(&folder, None);
    fact!(matches!(without, Err(Error::KeyRequired)), "locked: nothing opens without a key");
    let wrong = swarm::State::read(&folder, Some(&UnlockKey::generate()?));
    fact!(matches!(wrong, Err(Error::WrongKey)), "a wrong key is refused");
    let unlock_key = UnlockKey::from_text(expected["unlock_key"].as_str().ok_or("no key")?)?;
    let state = swarm::State::read(&folder, Some(&unlock_key))?;
    fact!(state.is_complete(), "opened with its unlock key, complete");

    let listed = expected["secrets"].as_array().ok_or("no secrets")?;
    fact!(state.objects.secrets.len() == listed.len(), "{} secrets", listed.len());
    for known in listed {
        let id = known["id"].as_str().ok_or("no id")?;
        let secret = state.objects.secrets.get(id).ok_or("a secret is missing")?;
        let hash = Sha256::digest(secret.payload.expose());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        fact!(
            known["sha256"] == *hash && known["name"] == *secret.facts.name,
            "{:<12} {:>5} bytes, SHA-256 {}… as dockerd had it",
            secret.facts.name,
            secret.payload.len(),
            &hash[..16]
        );
    }
    Ok(())
}

fn reopen(keys: &Path, me: &Identity) -> Result<nodeseal::LockedKeyring> {
    match Keyring::open(keys, me, LockPolicy::Locked)? {
        Opened::Locked(locked) => Ok(locked),
        Opened::Unlocked(_) => Err("the key file is not locked".into()),
    }
}

/// Entries from `first` on, of one term.
fn entries(first: usize, term: u64, texts: &[impl AsRef<str>]) -> Result<Change> {
    let mut change = Change::new();
    for (index, text) in (u64::try_from(first)?..).zip(texts) {
        let id = LogId::new(index, Era::term(term));
        change.push(id, |out| out.extend_from_slice(text.as_ref().as_bytes()))?;
    }
    Ok(change)
}

fn read(store: &Store) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    store.read(.., |_, entry| {
        texts.push(String::from_utf8_lossy(entry).into_owned());
        Ok::<(), Error>(())
    })?;
    Ok(texts)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path()));
    Ok(entries.collect::<std::io::Result<_>>()?)
}

fn only_segment(raft: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let files = files(raft)?.into_iter();
    let mut segments = files.filter(|path| path.extension().is_some_and(|ext| ext == "wal"));
    let segment = segments.next().ok_or("no segment")?;
    Ok((segment.clone(), fs::read(segment)?))
}

/// One bit of an entry in the middle is another.
fn altered(segment: &[u8]) -> Vec<u8> {
    let mut bytes = segment.to_vec();
    bytes[60_000] ^= 1;
    bytes
}

#[expect(clippy::disallowed_methods, reason = "an attacker's copy")]
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(fs::write(path, bytes)?)
}

fn count(dirs: &[&PathBuf], text: &str) -> Result<usize> {
    let mut finds = 0;
    for dir in dirs {
        for file in files(dir)? {
            finds += fs::read(file)?.windows(text.len()).filter(|w| *w == text.as_bytes()).count();
        }
    }
    Ok(finds)
}
