//! What handles can do, and what keys cannot.

use core::fmt::Debug;
use core::marker::PhantomData;

use super::*;
use crate::key::{Card, Dek};
use crate::keyring::open::LockedKeyring;
use crate::seal::{Cells, Streams};

const fn is_handle<T: Clone + Send + Sync + 'static>() {}
const fn is_shared<T: Send + Sync + 'static>() {}

const _: () = {
    is_handle::<Keyring>();
    is_handle::<Log>();
    is_handle::<Cells>();
    is_handle::<Streams>();
    is_shared::<LockedKeyring>();
    is_shared::<Sweep>();
    is_shared::<InFlight>();
    is_shared::<LockRecord>();
    is_shared::<UnlockKey>();
    is_shared::<Error>();
};

/// What a probe says of a type that lacks the trait. One that has it brings an inherent constant,
/// which hides this one.
trait Lacks {
    const HAS: bool = false;
}

macro_rules! none_of {
    ($bound:path: $($key:ty),+ $(,)?; but $control:ty) => {
        const _: () = {
            struct Probe<T>(PhantomData<T>);
            impl<T> Lacks for Probe<T> {}
            #[allow(dead_code, reason = "hidden for those that lack it")]
            impl<T: $bound> Probe<T> {
                const HAS: bool = true;
            }
            $(assert!(!<Probe<$key>>::HAS, concat!(stringify!($key), " is ", stringify!($bound)));)+
            assert!(<Probe<$control>>::HAS, "the probe finds the trait where it is");
        };
    };
}

macro_rules! no_key_is {
    ($($bound:path, but $control:ty;)+) => {
        $(none_of!($bound:
            SecretKey, SecretBytes, UnlockKey, Passphrase, LockRecord, Protector,
            Card, Dek, LiveDek, Slot; but $control);)+
    };
}

/// Only to name the trait with its parameter.
trait SameAs: PartialEq<Self> {}
impl<T: PartialEq<T>> SameAs for T {}

no_key_is! {
    Clone, but u8;
    Copy, but u8;
    SameAs, but u8;
    PartialOrd, but u8;
    core::hash::Hash, but u8;
    fmt::Display, but u8;
    fmt::LowerHex, but u8;
    AsRef<[u8]>, but Vec<u8>;
    core::ops::Deref, but Vec<u8>;
}
#[cfg(feature = "serde")]
no_key_is! { serde::Serialize, but u8; }

/// The forms in which bytes are usually printed.
fn forms(bytes: &[u8]) -> [String; 4] {
    use base64ct::{Base64Unpadded, Encoding};
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bytes:?}");
    let text = String::from_utf8_lossy(bytes).into_owned();
    [hex, list[1..list.len() - 1].to_owned(), Base64Unpadded::encode_string(bytes), text]
}

#[test]
fn debug_tells_nothing() {
    let (disk, keyring) = locked();
    let phrase = "correct horse";
    keyring.add_passphrase(&passphrases::phrase(phrase), passphrases::cheap()).unwrap();
    let record = LockRecord::retrievable(1, &key(2));
    keyring.reconcile(&record).unwrap();
    let auth = Card::of_unlock_key(key(2).secret()).auth;
    let dek = {
        let writer = keyring.shared().writer();
        writer.set.deks[0].live.secret().duplicate()
    };
    let secrets = [&[2; 32][..], auth.expose(), dek.expose(), PEM, phrase.as_bytes()];
    let silent = |what: &dyn Debug| {
        for text in [format!("{what:?}"), format!("{what:#?}")] {
            let flat: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for form in secrets.iter().flat_map(|secret| forms(secret)) {
                assert!(!flat.contains(&form), "{flat}");
            }
        }
    };
    let log = raft(&keyring).unwrap().log();
    let mut batch = log.batch(LogId::START);
    batch.push(id(1), |out| out.extend_from_slice(PEM)).unwrap();
    silent(&batch);
    silent(&batch.seal().unwrap());
    silent(&raft(&keyring).unwrap().cells().seal("t", b"r", PEM).unwrap());
    let (cells, streams, status) =
        (raft(&keyring).unwrap().cells(), raft(&keyring).unwrap().streams(), keyring.status());
    let attachment = keyring.attachment("tls").unwrap();
    let handles: [&dyn Debug; 7] =
        [&keyring, &status, &log, &cells, &streams, &record, &*attachment];
    handles.into_iter().for_each(silent);
    silent(&shown(&keyring).unwrap());
    drop((log, cells, streams, keyring));

    let unlock_key = key(2);
    let keys: [&dyn Debug; 6] = [
        &unlock_key,
        unlock_key.secret(),
        &passphrases::phrase(phrase),
        &record.encode(),
        &Protector::unlock_key(&key(2)),
        &Protector::lock_record(&record),
    ];
    keys.into_iter().for_each(silent);
    silent(&Keyring::inspect(place(&disk)).unwrap());
    let Opened::Locked(file) = Keyring::open(place(&disk), &me(), LockPolicy::Locked).unwrap()
    else {
        panic!("not locked")
    };
    silent(&file);
    silent(&file.unlock(&key(1)).unwrap_err());
    // What is looked for is found where it is.
    assert!(forms(PEM)[1].starts_with("45, 45"));
}
