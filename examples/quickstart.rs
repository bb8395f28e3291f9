//! The main job, one checked fact a line.
//!
//! ```text
//! cargo run --release --features swarm --example quickstart
//! ```

#[path = "support/plain_log.rs"]
mod plain_log;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
use nodeseal::swarm;
use nodeseal::{
    DekId, Error, Identity, Keyring, LockPolicy, LockRecord, Opened, Protector, Reason, UnlockKey,
};
use plain_log::{Frame, PlainLog, Result};
use sha2::{Digest, Sha256};

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
    let (keys, file) = (dir.join("keys"), dir.join("raft.log"));
    let key_file = keys.join("node.keys");
    let me = Identity::new("prod", "m1")?;

    println!("A node's keys");
    let unlock_key = UnlockKey::generate()?;
    let protector = Protector::unlock_key(&unlock_key);
    let keyring = Keyring::create(&keys, &me, protector, &[("tls-key", PAYLOAD.as_bytes())])?;
    let shown = unlock_key.to_text();
    fact!(Keyring::inspect(&keys)?.is_locked(), "created, locked; unlock key {}", &*shown);

    println!("A sealed log");
    let mut log = PlainLog::open(&file, &keyring)?;
    let entries: Vec<String> = (0..ENTRIES).map(|n| format!("{PAYLOAD} {n}")).collect();
    log.append(Era::term(1), &entries)?;
    let frames = log.frames()?;
    let grown = |n: usize| frames[n].sealed.len() - entries[n].len();
    fact!(
        (0..ENTRIES).all(|n| grown(n) == RECORD_OVERHEAD),
        "{ENTRIES} entries sealed with one fsync, {RECORD_OVERHEAD} bytes longer each"
    );
    let finds = count(&[&file, &key_file], PAYLOAD)? + count(&[&file, &key_file], &shown)?;
    fact!(finds == 0, "disk searched for payload and unlock key, {finds} finds");
    drop((log, keyring));

    println!("A restart");
    let locked = reopen(&keys, &me)?;
    let Err(failed) = locked.unlock(&UnlockKey::generate()?) else {
        return Err("a wrong key unlocked the key file".into());
    };
    fact!(matches!(failed.error, Error::WrongKey), "reopened locked; a wrong key is refused");
    let keyring = failed.locked.unlock(&unlock_key)?;
    let mut log = PlainLog::open(&file, &keyring)?;
    fact!(log.entries()? == as_bytes(&entries), "unlocked; {ENTRIES} entries opened");

    println!("An attacker on the disk");
    let sealer = keyring.log("raft")?;
    let (one, term) = (&frames[41], Era::term(1));
    let mut moved = one.sealed.clone();
    let moved = sealer.open_in_place(LogId::new(43, term), term, &mut moved);
    fact!(matches!(moved, Err(Error::Unauthentic)), "a record moved to another index is refused");
    let mut replaced = one.sealed.clone();
    replaced[RECORD_OVERHEAD] ^= 1;
    let replaced = sealer.open_in_place(one.id, one.prev, &mut replaced);
    fact!(matches!(replaced, Err(Error::Unauthentic)), "a record that was altered is refused");

    println!("Another unlock key");
    let (old_key, old_log, old_file) = (unlock_key, fs::read(&file)?, fs::read(&key_file)?);
    let unlock_key = UnlockKey::generate()?;
    keyring.reconcile(&LockRecord::locked(1, &unlock_key))?;
    fact!(fs::read(&file)? == old_log, "changed; the log was not touched");
    log.append(Era::term(2), &["after the change"])?;
    let mut after = log.frames()?.swap_remove(ENTRIES + 1);
    let stolen = dir.join("stolen");
    fs::create_dir(&stolen)?;
    #[expect(clippy::disallowed_methods, reason = "an attacker's copy")]
    fs::write(stolen.join("node.keys"), old_file)?;
    let thief = reopen(&stolen, &me)?.unlock(&old_key)?;
    let opened = thief.log("raft")?.open_in_place(after.id, after.prev, &mut after.sealed);
    fact!(matches!(opened, Err(Error::UnknownDek(_))), "old key file + old key: opens nothing new");
    drop((log, sealer, keyring));
    let refused = reopen(&keys, &me)?.unlock(&old_key).is_err();
    fact!(refused, "the new key file does not open with the old key");
    let keyring = reopen(&keys, &me)?.unlock(&unlock_key)?;

    println!("Another DEK");
    let mut log = PlainLog::open(&file, &keyring)?;
    let old: Vec<DekId> = keyring.status().deks.iter().map(|dek| dek.id).collect();
    keyring.rotate_dek(Reason::Requested)?;
    log.append(Era::term(2), &["written while it rotates"])?;
    // The changed unlock key began a round; what was asked for meanwhile is one more.
    while keyring.status().deks.len() > 1 {
        log.reseal()?;
        let mut sweep = keyring.sweep()?;
        for frame in log.frames()? {
            sweep.see(&frame.sealed)?;
        }
        sweep.finish()?;
    }
    let named = log.frames()?.iter().filter(|f| old.iter().any(|id| names(f, *id))).count();
    fact!(named == 0, "rotated while writing; the {} old DEKs are named nowhere", old.len());
    let gone = keyring.status().deks.iter().all(|dek| !old.contains(&dek.id));
    fact!(gone, "they are gone from the key file");
    fact!(log.entries()?.len() == ENTRIES + 2, "all {} entries open", ENTRIES + 2);
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

fn names(frame: &Frame, dek: DekId) -> bool {
    frame.sealed.get(1..9) == Some(&dek.to_bytes()[..])
}

fn count(files: &[&PathBuf], text: &str) -> Result<usize> {
    let mut finds = 0;
    for file in files {
        finds += fs::read(file)?.windows(text.len()).filter(|w| *w == text.as_bytes()).count();
    }
    Ok(finds)
}

fn as_bytes(entries: &[String]) -> Vec<Vec<u8>> {
    entries.iter().map(|entry| entry.as_bytes().to_vec()).collect()
}
