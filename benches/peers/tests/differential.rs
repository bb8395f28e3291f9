//! nodeseal's box against every other implementation of it, byte for byte and in both directions.

use nodeseal_peers::{KEY_LEN, NONCE_LEN, Peer, TAG_LEN, peers};
use proptest::prelude::*;

/// The implementations of the same box: nodeseal's fastest kernel, its other ones and the others.
fn boxes(key: &[u8; KEY_LEN]) -> (Box<dyn Peer>, Vec<Box<dyn Peer>>) {
    let mut all = peers(key).into_iter().filter(|peer| peer.is_secretbox());
    let ours = all.next().expect("nodeseal comes first");
    assert_eq!(ours.name(), "nodeseal");
    (ours, all.collect())
}

fn seal(peer: &dyn Peer, nonce: &[u8; NONCE_LEN], plain: &[u8]) -> ([u8; TAG_LEN], Vec<u8>) {
    let mut target = plain.to_vec();
    let tag = peer.seal(nonce, plain, &mut target);
    (tag, target)
}

fn open(
    peer: &dyn Peer,
    nonce: &[u8; NONCE_LEN],
    tag: &[u8; TAG_LEN],
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let mut target = sealed.to_vec();
    peer.open(nonce, tag, sealed, &mut target).then_some(target)
}

/// All make the same bytes, so whatever one sealed every other opens; and none opens it altered.
fn agree(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], plain: &[u8]) {
    let (ours, others) = boxes(key);
    let (tag, sealed) = seal(&*ours, nonce, plain);
    let mut altered = (tag, sealed.clone());
    match altered.1.last_mut() {
        Some(byte) => *byte ^= 1,
        None => altered.0[0] ^= 1,
    }
    assert!(open(&*ours, nonce, &altered.0, &altered.1).is_none());
    for peer in others {
        let (name, len) = (peer.name(), plain.len());
        let (their_tag, theirs) = seal(&*peer, nonce, plain);
        assert!(their_tag == tag && theirs == sealed, "{name} seals {len} bytes otherwise");
        let opened = open(&*ours, nonce, &their_tag, &theirs);
        assert!(opened.as_deref() == Some(plain), "{len} bytes of {name} do not open");
        let opened = open(&*peer, nonce, &tag, &sealed);
        assert!(opened.as_deref() == Some(plain), "{name} does not open our {len} bytes");
        assert!(open(&*peer, nonce, &altered.0, &altered.1).is_none(), "{name}, {len} bytes");
    }
}

/// Bytes without a short period, other ones for each seed (splitmix64).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let word = |n: u64| {
        let mut z = (seed << 32 ^ n).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31).to_le_bytes()
    };
    (0..).flat_map(word).take(len).collect()
}

fn array<const N: usize>(seed: u64) -> [u8; N] {
    noise(seed, N).try_into().expect("N bytes")
}

#[test]
fn the_others_are_there() {
    let (_, others) = boxes(&[0; KEY_LEN]);
    let names: Vec<_> =
        others.iter().map(|peer| peer.name()).filter(|name| *name != "nodeseal").collect();
    let avx2: &[&str] = if cfg!(target_arch = "x86_64") { &["dryoc"] } else { &[] };
    let libsodium: &[&str] = if cfg!(feature = "libsodium") { &["libsodium"] } else { &[] };
    let pure: &[&str] = &["salsa20+poly1305", "xsalsa20poly1305"];
    assert_eq!(names, [&["dryoc"], avx2, pure, libsodium].concat());
}

#[test]
fn every_length_up_to_2048_agrees() {
    for len in 0..=2048 {
        let seed = 3 * len as u64;
        agree(&array(seed), &array(seed + 1), &noise(seed + 2, len));
    }
}

#[test]
fn every_block_edge_up_to_64_kib_agrees() {
    let plain = noise(1, (64 << 10) + 65);
    for exponent in 11..=16 {
        for len in (1 << exponent) - 65..=(1 << exponent) + 65 {
            if len % 16 <= 1 || len % 16 == 15 {
                agree(&array(len as u64), &array(!0 >> 1), &plain[..len]);
            }
        }
    }
}

/// Whatever address text and ciphertext begin at.
#[test]
fn every_alignment_agrees() {
    let (ours, _) = boxes(&[0; KEY_LEN]);
    for len in [1, 63, 64, 200, 480, 1057, 1500, 5000] {
        let (key, nonce, plain) = (array(len as u64), array(!0 >> 2), noise(3, len));
        let (mut made, mut memory) = (Vec::new(), vec![0; 64 + len]);
        for peer in peers(&key).iter().filter(|peer| peer.is_secretbox()) {
            for offset in 0..64 {
                let target = &mut memory[offset..offset + len];
                target.copy_from_slice(&plain);
                let tag = peer.seal(&nonce, &plain, target);
                made.push((tag, target.to_vec()));
            }
        }
        assert!(made.windows(2).all(|pair| pair[0] == pair[1]), "{} {len} bytes", ours.name());
    }
}

/// Plaintext of zeros shows the key stream; of ones, the longest carries of the authenticator.
#[test]
fn extreme_bytes_agree() {
    for (key, nonce, plain) in [(0, 0, 0), (0xff, 0xff, 0xff), (0, 0xff, 0), (0xff, 0, 0xff)] {
        for len in [0, 1, 16, 31, 32, 33, 64, 96, 1024, 4096, 65_536] {
            agree(&[key; KEY_LEN], &[nonce; NONCE_LEN], &vec![plain; len]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_lengths_up_to_a_mebibyte_agree(
        key: [u8; KEY_LEN],
        nonce: [u8; NONCE_LEN],
        seed in 0..1u64 << 31,
        bits in 0..20u32,
        below: u64,
    ) {
        // As many short messages as long ones.
        let len = (2 << bits) - 1 - (below % (1 << bits)) as usize;
        prop_assert!(len <= 1 << 20);
        agree(&key, &nonce, &noise(seed, len));
    }
}
