//! The key set: what decodes is written again with all its fields, and what was written opens.
//!
//! The first byte says whether the file is locked, and what happens to the keyring then.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeseal::{Error, LockRecord, Reason};
use nodeseal_fuzz::fixed::{self, DIR, KEK, KEYSPACE};
use nodeseal_fuzz::key_file::{Field, Slot, key_file, key_set_of};
use nodeseal_fuzz::{reference, split_mode};

/// The uses that one write of the key file reserves.
const RESERVE: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let (mode, set) = split_mode(data);
    let slot = Slot::unlock(&KEK);
    let file = key_file(5, 3, (mode & 1 != 0).then_some(&slot), set);
    let (disk, location) = fixed::disk(&file);
    let keyring = match fixed::open(location.clone()) {
        Ok(keyring) => keyring,
        Err(error) => {
            assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }));
            return;
        }
    };
    let mut fields = Field::decode(set).expect("the library has read it");
    if fields.iter().any(|field| field.tag == 4 && field.value[1..] != slot.card) {
        // Written again, the file is locked for a key that nobody has.
        return;
    }

    // The first use of a DEK since the file was opened is reserved in the file.
    let stored = || {
        let file = disk.read_file(&std::path::Path::new(DIR).join("node.keys")).expect("a file");
        let set = key_set_of(&file, &slot).expect("the file is well formed");
        Field::decode(&set).expect("the key set is well formed")
    };
    let keyspace = match keyring.keyspace(KEYSPACE) {
        Ok(keyspace) => keyspace,
        Err(error) => {
            assert!(matches!(error, Error::Misuse(_)), "{error}");
            return;
        }
    };
    let mut is_new = false;
    let registered = Field::keyspace(KEYSPACE, &keyspace.id().to_bytes(), true);
    if !fields.contains(&registered) {
        // That was a change of the keys, which ends what the set had left undone.
        let before = fields;
        fields = stored();
        assert!(fields.contains(&registered));
        let active = fields.iter().find(|field| field.tag == 1).expect("an active DEK");
        // A new one comes with its first uses reserved.
        is_new =
            before.iter().all(|field| field.tag > 2 || field.value[..32] != active.value[..32]);
    }
    let cell = match keyspace.cells().seal("table", b"row", b"plain") {
        Ok(cell) => cell,
        Err(error) => {
            assert!(matches!(error, Error::Misuse(_)), "{error}");
            return;
        }
    };
    let active = fields.iter_mut().find(|field| field.tag == 1).expect("an active DEK");
    let dek: reference::Key = *active.value.first_chunk().expect("its key");
    let reserved = active.value.last_chunk_mut::<8>().expect("its uses");
    let more = if is_new { 0 } else { RESERVE };
    *reserved = (u64::from_le_bytes(*reserved) + more).to_le_bytes();
    let opened =
        reference::open_cell_in(&keyspace.id().to_bytes(), &[dek], "table", b"row", cell.bytes());
    assert_eq!(opened.as_deref(), Some(&b"plain"[..]));
    let mut again = stored();
    fields.sort();
    again.sort();
    assert_eq!(fields, again);

    // None of these may fail but for misuse, and whatever they leave behind opens.
    let key = fixed::unlock_key();
    let sweep = || {
        let mut sweep = keyring.sweep()?;
        keyring.status().keyspaces.iter().for_each(|keyspace| sweep.shown(&keyspace.name));
        sweep.finish().map(drop)
    };
    let steps: [&dyn Fn() -> nodeseal::Result<()>; 7] = [
        &|| keyring.rotate_dek(Reason::Requested).map(drop),
        &|| keyring.rotate_dek(Reason::Leaked).map(drop),
        &sweep,
        &|| keyring.attach("added", b"bytes"),
        &|| keyring.reconcile(&LockRecord::off(9)).map(drop),
        &|| keyring.reconcile(&LockRecord::locked(10, &key)).map(drop),
        &sweep,
    ];
    let cell_bytes = cell.bytes().to_vec();
    cell.durable();
    for (bit, step) in (1..).zip(steps) {
        if mode & 1 << bit != 0
            && let Err(error) = step()
        {
            assert!(matches!(error, Error::Misuse(_)), "{error}");
        }
    }
    drop((keyspace, keyring));
    let left = stored();
    let keyring = fixed::open(location).expect("what was written opens");
    // Any other field may hold the same bytes.
    let kept = left.iter().any(|field| field.tag <= 2 && field.value.starts_with(&dek));
    assert_eq!(
        keyring
            .keyspace(KEYSPACE)
            .expect("it is registered")
            .cells()
            .open("table", b"row", &cell_bytes)
            .is_ok(),
        kept
    );
});
