//! Looks for secrets in the dead stack below a finished call, which the kernel shows without any
//! unsafe code.

use std::collections::HashSet;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use super::*;
use crate::crypto::kernel::{Kernel, force};
use crate::crypto::testing::pattern;
use crate::crypto::{argon2id, hkdf, hpke, secretbox, x25519, xchacha, xwing};
use crate::secret::SecretKey;

/// How much dead stack is searched, in bytes.
const DEPTH: usize = 256 << 10;
/// Stack between the search's own frames and those of the call, in bytes.
const GAP: usize = 8 << 10;

/// How deep below the call's caller any eight bytes in a row of `secrets` are found.
fn residue(secrets: &[&[u8]], call: impl FnOnce() + Send) -> Vec<usize> {
    depths(&dead_stack(call), secrets)
}

/// The dead stack that `call` leaves, for secrets that are known only after it.
pub(crate) fn dead_stack(call: impl FnOnce() + Send) -> Vec<u8> {
    // A new thread may get the stack of one that ended.
    stack_after(zeroize_stack::<{ DEPTH + GAP }>, call)
}

/// How deep in `stack` any eight bytes in a row of `secrets` are found.
pub(crate) fn depths(stack: &[u8], secrets: &[&[u8]]) -> Vec<usize> {
    let windows: HashSet<_> = secrets.iter().flat_map(|secret| secret.windows(8)).collect();
    let found = stack.windows(8).enumerate().filter(|(_, bytes)| windows.contains(*bytes));
    found.map(|(at, _)| (DEPTH - at).saturating_sub(GAP)).collect()
}

/// What the stack is filled with to see what is written to.
const PAINT: u8 = 0xa5;

#[inline(never)]
fn paint() {
    black_box([PAINT; DEPTH + GAP]);
}

/// How far below the overwritten stack `call` left something.
fn left_below(call: impl FnOnce() + Send) -> usize {
    let stack = stack_after(paint, call);
    let touched = stack.iter().position(|byte| *byte != PAINT).unwrap();
    let wiped = stack.windows(512).position(|bytes| bytes.iter().all(|byte| *byte == 0));
    wiped.unwrap() - touched
}

/// The dead stack after `call`, which `prepare` filled before.
fn stack_after(prepare: fn(), call: impl FnOnce() + Send) -> Vec<u8> {
    let find = || {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut stack = vec![0; DEPTH];
        let mark = 0u8;
        let top = core::ptr::from_ref(black_box(&mark)).addr();
        prepare();
        deeper(call);
        memory.read_exact_at(&mut stack, (top - DEPTH) as u64).unwrap();
        stack
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        thread.spawn_scoped(scope, find).unwrap().join().unwrap()
    })
}

#[inline(never)]
fn deeper(call: impl FnOnce()) {
    let gap = [0u8; GAP];
    black_box(&gap);
    call();
    black_box(&gap);
}

#[track_caller]
fn assert_none(secrets: &[&[u8]], call: impl FnOnce() + Send) {
    let mut found = residue(secrets, call);
    found.sort_unstable();
    assert!(found.is_empty(), "{} places, {:?} to {:?}", found.len(), found.first(), found.last());
}

fn key() -> SecretKey {
    let bytes = pattern(64);
    SecretKey::init(|key| key.copy_from_slice(&bytes[32..]))
}

#[inline(never)]
fn leave_a_copy(key: &SecretKey) {
    black_box(*key.expose());
}

#[test]
fn a_copy_is_found_unless_it_is_wiped() {
    let key = key();
    assert!(!residue(&[key.expose()], || leave_a_copy(&key)).is_empty());
    assert_none(&[key.expose()], || wiped::<1024, _>(|| leave_a_copy(&key)));
}

/// What lies below the overwritten stack at the most: where the overwriting returns to.
const RETURN: usize = 16;

#[test]
fn what_goes_deeper_than_it_is_wiped_is_seen() {
    let key = key();
    assert!(left_below(|| wiped::<1024, _>(|| deeper(|| leave_a_copy(&key)))) > RETURN);
    assert!(left_below(|| wiped::<1024, _>(|| leave_a_copy(&key))) <= RETURN);
}

/// On every kernel, at all lengths where it takes another way, and beyond the longest class.
#[test]
fn kernels_go_no_deeper_than_they_are_wiped() {
    for kernel in Kernel::available() {
        for len in (0..=2200).step_by(31).chain([480, 481, 2047, 2048, 4000, 8192, 20_000, 70_000])
        {
            goes_no_deeper(kernel, len);
        }
    }
}

fn goes_no_deeper(kernel: Kernel, len: usize) {
    let (key, prefix, suffix) = ([1; 32], [2; 16], [3; 8]);
    let (mut subkey, mut data, mut tag) = ([0; 32], pattern(len), [0; 16]);
    let what = (kernel.name(), len);
    let check = |call: &mut (dyn FnMut() + Send)| {
        let left = left_below(call);
        assert!(left <= RETURN, "{what:?}: {left} bytes too deep");
    };
    check(&mut || kernel.derive(&key, &prefix, &mut subkey));
    check(&mut || tag = kernel.seal(&subkey, &suffix, &mut data));
    check(&mut || assert!(!kernel.open(&subkey, &suffix, &[!tag[0]; 16], &mut data)));
    check(&mut || assert!(kernel.open(&subkey, &suffix, &tag, &mut data)));
    check(&mut || tag = kernel.derive_seal(&key, &prefix, &suffix, &mut data));
    check(&mut || assert!(kernel.derive_open(&key, &prefix, &suffix, &tag, &mut data)));
    for count in [1, 5, 16, 33] {
        let mut sealed = vec![vec![9; 16 + len]; count];
        if let [first, _, ..] = &mut *sealed {
            first.resize(16 + len / 2, 9);
        }
        let mut messages: Vec<_> = (0..).zip(&mut sealed).map(message).collect();
        check(&mut || kernel.seal_many(&subkey, &mut messages));
        check(&mut || kernel.open_many(&subkey, &mut messages));
    }
}

#[test]
fn secretbox_leaves_nothing() {
    for kernel in Kernel::available() {
        // Nothing at all has a tag that is half the authenticator's key.
        for len in [1, 64, 96, 224, 300, 352, 480, 481, 700, 1100, 3000, 8192, 8193, 20_000] {
            leaves_nothing(kernel, len);
        }
    }
}

fn leaves_nothing(kernel: Kernel, len: usize) {
    let key = key();
    let nonce = [3; secretbox::NONCE_LEN];
    let mut subkey = secretbox::Subkey::default();
    subkey.set(key.expose(), &[3; secretbox::PREFIX_LEN]);
    let suffix = [3; secretbox::SUFFIX_LEN];
    let (mut data, mut tag) = (pattern(len), [0; 16]);
    // The stream, and before it the authenticator's key.
    let mut stream = vec![0; 32 + len];
    secretbox::tests::keystream(&subkey, &suffix, &mut stream);
    let mut secrets: Vec<&[u8]> = vec![key.expose(), subkey.as_key()];
    secrets.extend(stream.chunks_exact(16).take(8));
    secrets.extend(stream.chunks_exact(16).rev().take(8));
    let check = |call: &mut (dyn FnMut() + Send)| {
        // The forced kernel is the thread's.
        assert_none(&secrets, || force::on(kernel, call));
    };
    check(&mut || tag = secretbox::seal(key.expose(), &nonce, &mut data));
    check(&mut || secretbox::open(key.expose(), &nonce, &tag, &mut data).unwrap());
    check(&mut || {
        assert!(secretbox::open(key.expose(), &nonce, &tag, &mut data).is_err());
    });
    check(&mut || tag = subkey.seal(&suffix, &mut data));
    check(&mut || subkey.open(&suffix, &tag, &mut data).unwrap());

    let mut sealed = vec![vec![9; 16 + len]; 5];
    let mut messages: Vec<_> = (0..).zip(&mut sealed).map(message).collect();
    check(&mut || subkey.seal_many(&mut messages));
    check(&mut || subkey.open_many(&mut messages));
    check(&mut || subkey.open_many(&mut messages));
}

fn message((i, sealed): (u64, &mut Vec<u8>)) -> secretbox::Message<'_> {
    let suffix = (0x0303_0303_0303_0303 + i).to_le_bytes();
    secretbox::Message { suffix, sealed, right: false }
}

#[test]
fn xchacha_leaves_nothing() {
    let key = key();
    let mut message = pattern(400);
    assert_none(&[key.expose()], || {
        xchacha::seal(key.expose(), b"aad", &mut message).unwrap();
    });
    assert_none(&[key.expose()], || {
        xchacha::open(key.expose(), b"aad", &mut message).unwrap();
    });
    assert_none(&[key.expose()], || {
        assert!(xchacha::open(key.expose(), b"aad", &mut message).is_err());
    });
}

#[test]
fn hkdf_leaves_nothing() {
    let ikm = key();
    let prk = hkdf::tests::hmac(&[0; 32], &[ikm.expose()]);
    let label = "nodeseal/v1/test";
    let derived = hkdf::derive(ikm.expose(), label, &[b"context"]);
    assert_none(&[ikm.expose(), &prk, derived.expose()], || {
        drop(hkdf::derive(ikm.expose(), label, &[b"context"]));
    });
}

#[test]
fn x25519_leaves_nothing() {
    let scalar = key();
    let point = x25519::public(&SecretKey::init(|bytes| bytes.fill(5)));
    let secret = x25519::shared(&scalar, &point).unwrap();
    assert_none(&[scalar.expose()], || {
        black_box(x25519::public(&scalar));
    });
    assert_none(&[scalar.expose(), secret.expose()], || {
        drop(x25519::shared(&scalar, &point).unwrap());
    });
    assert_none(&[scalar.expose()], || {
        assert!(x25519::shared(&scalar, &[0; x25519::POINT_LEN]).is_err());
    });
}

/// The seeds and secrets of both halves, which the crate's own wiping does not reach.
#[test]
fn xwing_leaves_nothing() {
    let key = key();
    let expanded = expanded(&key);
    let randomness: [u8; 64] = pattern(128)[64..].try_into().unwrap();
    let public = xwing::public(&key);
    let (share, shared) = xwing::encapsulate(&public, &randomness).unwrap();
    assert_none(&[key.expose(), &expanded], || drop(xwing::public(&key)));
    assert_none(&[&randomness, shared.expose()], || {
        drop(xwing::encapsulate(&public, &randomness).unwrap());
    });
    assert_none(&[key.expose(), &expanded, &randomness[..32], shared.expose()], || {
        drop(xwing::decapsulate(&key, &share).unwrap());
    });
    let mut low = share.clone();
    low[1088..].fill(0);
    assert_none(&[key.expose(), &expanded], || assert!(xwing::decapsulate(&key, &low).is_err()));
}

#[test]
fn xwing_goes_no_deeper_than_it_is_wiped() {
    let key = key();
    let public = xwing::public(&key);
    let (share, _) = xwing::encapsulate(&public, &[7; 64]).unwrap();
    let calls: [&(dyn Fn() + Sync); 3] =
        [&|| drop(xwing::public(&key)), &|| drop(xwing::encapsulate(&public, &[7; 64])), &|| {
            drop(xwing::decapsulate(&key, &share))
        }];
    for (n, call) in calls.iter().enumerate() {
        let left = left_below(call);
        assert!(left <= RETURN, "call {n}: {left} bytes too deep");
    }
}

/// SHAKE256 of an X-Wing key: ML-KEM's two seeds, and X25519's scalar.
fn expanded(key: &SecretKey) -> [u8; 96] {
    use shake::{ExtendableOutput, Shake256, Update, XofReader};
    let mut shake = Shake256::default();
    shake.update(key.expose());
    let mut expanded = [0; 96];
    shake.finalize_xof().read(&mut expanded);
    expanded
}

#[test]
fn hpke_leaves_nothing() {
    let (recipient, psk_key) = (key(), SecretKey::init(|bytes| bytes.fill(0x5c)));
    let psk = hpke::Psk { key: &psk_key, id: b"psk" };
    let plain = pattern(32);
    let mut sealed = [&plain[..], &[0; 16]].concat();
    let public = xwing::public(&recipient);
    let mut sent = None;
    assert_none(&[psk_key.expose()], || {
        let (share, mut sender) = hpke::Sender::new(&public, psk, b"info").unwrap();
        sender.seal(b"aad", &mut sealed).unwrap();
        sent = Some(share);
    });
    let share = sent.unwrap();
    let shared = xwing::decapsulate(&recipient, &share).unwrap();
    for wrong in [true, false] {
        assert_none(&[recipient.expose(), psk_key.expose(), shared.expose(), &plain], || {
            let mut receiver = hpke::Receiver::new(&recipient, &share, psk, b"info").unwrap();
            let aad: &[u8] = if wrong { b"aae" } else { b"aad" };
            assert_eq!(receiver.open(aad, &mut sealed).is_ok(), !wrong);
        });
    }
}

#[test]
fn argon2id_leaves_nothing() {
    let passphrase = pattern(40);
    let costs = argon2id::Costs::new(8 << 10, 1, 1).unwrap();
    let derived = argon2id::derive(&passphrase, &[1; 16], costs).unwrap();
    assert_none(&[&passphrase, derived.expose()], || {
        drop(argon2id::derive(&passphrase, &[1; 16], costs).unwrap());
    });
}
