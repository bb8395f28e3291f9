//! Files that somebody wrote who can write to the disk and has no key.

use super::*;
use crate::key::Card;
use crate::keyring::slot::WrappedSlot;
use crate::keyring::text::MAX_FILE;

/// All that a thief of the disk has: the file's public lines, and a keyring of their own making. The
/// recipient, which the file does not show, is taken to be known.
struct Forger {
    disk: SimFs,
    seen: WrappedSlot,
    own: Keyring,
}

impl Forger {
    fn new() -> Self {
        let (disk, keyring) = locked();
        keyring.attach("tls", b"another").unwrap();
        drop(keyring);
        let file = KeyFile::parse(&SecretBytes::from(bytes(&disk).as_slice())).unwrap();
        let Slots::Wrapped(mut lines) = file.header.slots else { panic!("not locked") };
        let Some(SlotLine::Known(seen)) = lines.pop() else { panic!("no slot") };
        let (_, own) = locked();
        Self { disk, seen, own }
    }

    /// Puts a file there that holds the forger's keys and this slot, and tries to open it.
    fn put(&self, slot: impl FnOnce(&SecretKey) -> WrappedSlot) -> Error {
        let writer = self.own.shared().writer();
        let file_key = random::key().unwrap();
        let slots = Slots::Wrapped(vec![SlotLine::Known(slot(&file_key))]);
        let header = Header::new(me(), 99, 0, slots, &file_key).encode();
        let mut set = writer.set.encode().unwrap();
        xchacha::seal(file_key.expose(), header.expose(), set.expose_mut()).unwrap();
        put(&self.disk, KeyFile::encode(&header, set.expose()).expose());
        unlock(&self.disk, &key(1)).unwrap_err()
    }

    /// A slot for the operator's recipient, wrapped with an auth that the forger made up.
    fn slot(&self, auth: u8, file_key: &SecretKey) -> WrappedSlot {
        let auth = SecretKey::init(|bytes| bytes.fill(auth));
        let card = Card { recipient: Card::of_unlock_key(key(1).secret()).recipient, auth };
        Slot { head: self.seen.head.clone(), card }.wrap(&me(), file_key).unwrap()
    }
}

#[test]
fn a_slot_for_the_right_recipient_needs_its_auth() {
    let forger = Forger::new();
    for auth in [0, 1] {
        let error = forger.put(|file_key| forger.slot(auth, file_key));
        assert!(matches!(error, Error::WrongKey), "{error:?}");
    }
}

#[test]
fn an_old_confirmation_with_a_new_wrapped_key_does_not_authenticate() {
    let forger = Forger::new();
    let confirm = forger.seen.confirm;
    let error = forger.put(|file_key| WrappedSlot { confirm, ..forger.slot(0, file_key) });
    assert!(matches!(error, Error::Unauthentic), "{error:?}");
}

/// The slot opens, and is not the file's: its file key is another one.
#[test]
fn an_old_slot_does_not_open_new_keys() {
    let forger = Forger::new();
    let error = forger.put(|_| copy(&forger.seen));
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
}

#[test]
fn an_old_slot_with_another_share_does_not_authenticate() {
    let forger = Forger::new();
    let share = forger.slot(0, &random::key().unwrap()).share;
    let error = forger.put(|_| WrappedSlot { share, ..copy(&forger.seen) });
    assert!(matches!(error, Error::Unauthentic), "{error:?}");
}

#[test]
fn a_share_of_low_order_is_damage() {
    let forger = Forger::new();
    for first in [0, 1] {
        let mut share = forger.seen.share.clone();
        share[1088..].fill(0);
        share[1088] = first;
        let error = forger.put(|_| WrappedSlot { share, ..copy(&forger.seen) });
        assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
    }
}

#[test]
fn a_locked_node_does_not_take_a_file_in_the_clear() {
    let (disk, keyring) = locked();
    drop(keyring);
    let elsewhere = SimFs::new();
    drop(create(&elsewhere, Protector::none()));
    put(&disk, &bytes(&elsewhere));
    assert!(matches!(
        Keyring::open(place(&disk), &me(), LockPolicy::Locked),
        Err(Error::ExpectedLocked)
    ));
    // The lock is free again, and the policy is what kept it out.
    let opened = Keyring::open(place(&disk), &me(), LockPolicy::Any).unwrap();
    assert!(matches!(opened, Opened::Unlocked(_)));
}

#[test]
fn without_any_slot_no_key_fits() {
    let (disk, keyring) = locked();
    drop(keyring);
    let lines = above(&disk);
    let (start, end) = (lines.find("slot ").unwrap(), lines.find("commit ").unwrap());
    put(&disk, &checked([&lines[..start], &lines[end..]].concat().as_bytes()));
    assert!(matches!(unlock(&disk, &key(1)), Err(Error::WrongKey)));
}

#[test]
fn a_directory_or_a_huge_file_is_no_key_file() {
    let disk = SimFs::new();
    disk.write_file(Path::new("/keys/node.keys/x"), b"").unwrap();
    assert!(matches!(unlock(&disk, &key(1)), Err(Error::Io { op: "open", .. })));
    let disk = SimFs::new();
    put(&disk, &vec![b'\n'; MAX_FILE]);
    assert!(matches!(unlock(&disk, &key(1)), Err(Error::Damaged { .. })));
}

fn copy(slot: &WrappedSlot) -> WrappedSlot {
    let WrappedSlot { head, confirm, share, wrapped } = slot;
    WrappedSlot { head: head.clone(), confirm: *confirm, share: share.clone(), wrapped: *wrapped }
}

/// Each attachment was weighed together with all before it.
#[test]
fn very_many_attachments_take_linear_time() {
    let disk = SimFs::new();
    let keyring = create(&disk, Protector::none());
    let file_key = random::key().unwrap();
    let slots = Slots::Clear(file_key.duplicate());
    let header = Header::new(me(), 9, 0, slots, &file_key).encode();
    let mut set = keyring.shared().writer().set.encode().unwrap();
    drop(keyring);
    for n in 0..200_000 {
        set.extend_from_slice(&[5, 8, 0, 0, 0, 0, 6]);
        set.extend_from_slice(format!("{n:06}").as_bytes());
    }
    xchacha::seal(file_key.expose(), header.expose(), set.expose_mut()).unwrap();
    put(&disk, KeyFile::encode(&header, set.expose()).expose());
    let begun = std::time::Instant::now();
    assert!(matches!(Keyring::open(place(&disk), &me(), LockPolicy::Any), Ok(Opened::Unlocked(_))));
    // Quadratic, it would take minutes.
    assert!(begun.elapsed().as_secs() < 30);
}
