//! Sealing a log in storage of one's own, without a raft engine and without our store: what is
//! called, and what must be durable before what.
//!
//! ```text
//! cargo run --example engine_free
//! ```
//!
//! | step | call | durable before it goes on |
//! |---|---|---|
//! | first start | `Keyring::create` | done when it returns |
//! | start | `Keyring::open`, `unlock`, `reconcile` | done when they return |
//! | | `open_state`: the log must end where it says | the cut of what was not acknowledged |
//! | append | `batch`, `push`, `seal`; `seal_state` | records and state cell, under one fsync, before the entries are acknowledged and `durable` is said |
//! | rotate | `rotate_dek` | done when it returns; from then on the new DEK seals |
//! | re-seal | `reseal` of everything, in bounded steps, only where it still stands | each new place, before its old one is overwritten or removed |
//! | end of the rotation | `sweep`, `see` everything, `finish` | everything re-sealed, before `sweep` |
//!
//! Never: acknowledge before the fsync; use an index twice for two entries of one era without raft;
//! go on writing after a failed fsync; put a sealed record anywhere but under its own index.

#[path = "support/plain_log.rs"]
mod plain_log;

use nodeseal::seal::Era;
use nodeseal::{Identity, Keyring, LockPolicy, LockRecord, Opened, Protector, Reason, UnlockKey};
use plain_log::{PlainLog, Result};

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (keys, file) = (dir.path().join("keys"), dir.path().join("raft.log"));
    let me = Identity::new("prod", "m1")?;
    let unlock_key = UnlockKey::generate()?;

    // First start. The lock record is what the cluster replicates; it does not hold the key.
    let lock_record = LockRecord::locked(1, &unlock_key);
    let keyring = Keyring::create(&keys, &me, Protector::lock_record(&lock_record), &[])?;
    let mut log = PlainLog::open(&file, &keyring)?;
    log.append(Era::term(1), &["create secret db_password", "create service web"])?;
    println!("appended up to entry {}", log.state.last.index);
    drop((log, keyring));

    // The machine stopped in the middle of an append: half a frame stands at the end.
    let whole = std::fs::read(&file)?;
    std::fs::OpenOptions::new()
        .append(true)
        .open(&file)?
        .set_len(u64::try_from(whole.len())? + 17)?;

    // Next start.
    let keyring = match Keyring::open(&keys, &me, LockPolicy::Locked)? {
        Opened::Locked(locked) => locked.unlock(&unlock_key)?,
        Opened::Unlocked(keyring) => keyring,
    };
    keyring.reconcile(&lock_record)?;
    let mut log = PlainLog::open(&file, &keyring)?;
    assert_eq!(std::fs::read(&file)?, whole, "what was not acknowledged is cut off");
    assert_eq!(log.entries()?.len(), 2);
    println!("opened again, {} entries", log.entries()?.len());

    // Rotation: a new DEK at once, then everything under it, then the proof, then the old one goes.
    keyring.rotate_dek(Reason::Age)?;
    log.append(Era::term(2), &["while it rotates"])?;
    log.reseal()?;
    let mut sweep = keyring.sweep()?;
    for frame in log.frames()? {
        sweep.see(&frame.sealed)?;
    }
    assert!(sweep.finish()?.is_empty(), "the old DEK is named nowhere");
    assert_eq!(keyring.status().deks.len(), 1);
    assert_eq!(log.entries()?.len(), 3);
    println!("rotated, {} entries under one DEK", log.entries()?.len());
    Ok(())
}
