//! Sealing a log in storage of one's own, without a raft engine and without our store: what to
//! call, and what must be durable before what.
//!
//! ```text
//! cargo run --example engine_free
//! ```
//!
//! | step | call | durable before it continues |
//! |---|---|---|
//! | first start | `Keyring::create`, `keyspace`, then an empty log with its state cell | all when they return: file, name and directory |
//! | start | `Keyring::open`, `unlock`, `reconcile`, `keyspace` | done when they return |
//! | | `open_state`: the log must end where it says | what was found, written again; without what was not acknowledged |
//! | append | `batch`, `push`, `seal`; `seal_state` | records and state cell, under one fsync, before the entries are acknowledged and `durable` is called |
//! | rotate | `rotate_dek` | done when it returns; from then on the new DEK seals |
//! | re-seal | `reseal` of everything, in bounded steps, only where it is still stored | each new location, before its old one is overwritten or removed |
//! | end of the rotation | `sweep`, `see` everything, `shown`, `finish` | everything re-sealed, before `sweep` |
//!
//! Never: acknowledge before the fsync; write after a failed write or fsync, but open the log again;
//! take a missing log for a new one; use an index twice for two entries of one era (raft has a new
//! term after each start; without raft, count the starts); store a sealed record under any index but
//! its own.

#[path = "support/plain_log.rs"]
mod plain_log;

use std::error::Error;
use std::sync::Arc;

use nodeseal::fs::{Fs, RealFs};
use nodeseal::seal::Era;
use nodeseal::{Identity, Keyring, LockPolicy, LockRecord, Opened, Protector, Reason, UnlockKey};
use plain_log::PlainLog;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let (keys, file) = (dir.path().join("keys"), dir.path().join("raft.log"));
    let fs: Arc<dyn Fs> = Arc::new(RealFs::default());
    let me = Identity::new("prod", "m1")?;
    let unlock_key = UnlockKey::generate()?;

    // First start. The lock record is what the cluster replicates; it does not hold the key.
    let lock_record = LockRecord::locked(1, &unlock_key);
    let keyring = Keyring::create(&keys, &me, Protector::lock_record(&lock_record), &[])?;
    let mut log = PlainLog::create(Arc::clone(&fs), &file, &keyring)?;
    log.append(Era::term(1), &["create secret db_password", "create service web"])?;
    println!("appended up to entry {}", log.state().last.index);
    drop((log, keyring));

    // The machine stopped in the middle of an append: half a batch is at the end.
    let whole = std::fs::metadata(&file)?.len();
    std::fs::OpenOptions::new().append(true).open(&file)?.set_len(whole + 17)?;

    // Next start.
    let keyring = match Keyring::open(&keys, &me, LockPolicy::Locked)? {
        Opened::Locked(locked) => locked.unlock(&unlock_key)?,
        Opened::Unlocked(keyring) => keyring,
    };
    keyring.reconcile(&lock_record)?;
    let mut log = PlainLog::open(Arc::clone(&fs), &file, &keyring)?;
    assert_eq!(std::fs::metadata(&file)?.len(), whole, "what was not acknowledged is left out");
    assert_eq!(entries(&log)?, 2);
    println!("opened again, {} entries", entries(&log)?);

    // Rotation: a new DEK at once, then everything under it, then the proof, then the old one goes.
    keyring.rotate_dek(Reason::Age)?;
    log.append(Era::term(2), &["while it rotates"])?;
    log.reseal()?;
    let mut sweep = keyring.sweep()?;
    log.sealed(|sealed| sweep.see(sealed))?;
    sweep.shown(log.name());
    assert!(sweep.finish()?.is_empty(), "the old DEK is named nowhere");
    assert_eq!(keyring.status().deks.len(), 1);
    assert_eq!(entries(&log)?, 3);
    println!("rotated, {} entries under one DEK", entries(&log)?);
    Ok(())
}

fn entries(log: &PlainLog) -> nodeseal::Result<u64> {
    let mut count = 0;
    log.read(|_, _| count += 1)?;
    Ok(count)
}
