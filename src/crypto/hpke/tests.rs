use hpke::aead::ChaCha20Poly1305 as TheirAead;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, XWing};
use hpke::{Deserializable, OpModeR, OpModeS, PskBundle, Serializable};

use super::*;
use crate::crypto::testing::{Case, cases};

const INFO: &[u8] = b"info";
const AAD: &[u8] = b"aad";

fn key(n: u8) -> SecretKey {
    SecretKey::init(|key| key.fill(n))
}

fn psk(key: &SecretKey) -> Psk<'_> {
    Psk { key, id: b"psk" }
}

/// `plain` with room for its tag.
fn message(plain: &[u8]) -> Vec<u8> {
    [plain, &[0; TAG_LEN]].concat()
}

/// The published numbers of the messages in `case`, with what they are sealed.
fn messages<'a>(case: &Case<'a>) -> Vec<(u64, Vec<u8>)> {
    let numbers = case.text("messages").split(' ').map(|n| n.parse().unwrap());
    numbers.map(|n: u64| (n, case.bytes(&format!("sealed_{n}")))).collect()
}

#[test]
fn published_vectors() {
    let file = include_str!("../../../tests/data/vectors/hpke.txt");
    for (n, case) in cases(file, 3).iter().enumerate() {
        let kem = u16::try_from(case.number("kem")).unwrap();
        let mode = u8::try_from(case.number("mode")).unwrap();
        let shared = SecretKey::init(|key| key.copy_from_slice(&case.bytes("shared")));
        if n == 2 {
            let recipient = SecretKey::init(|key| key.copy_from_slice(&case.bytes("recipient")));
            assert_eq!(*xwing::public(&recipient), case.array("recipient_public"));
            let opened = xwing::decapsulate(&recipient, &case.array("share")).unwrap();
            assert!(opened.ct_eq(&shared) && kem == KEM);
        }
        let context = || {
            let (psk, id, info) = (case.bytes("psk"), case.bytes("psk_id"), case.bytes("info"));
            Context::schedule(&suite(kem), mode, &shared, &psk, &id, &info)
        };
        assert_eq!(*context().key.expose(), case.array("key"));
        assert_eq!(*context().base_nonce, case.array("base_nonce"));
        let (mut sender, mut receiver) = (Sender(context()), Receiver(context()));
        for (n, expected) in messages(case) {
            let plain = case.bytes("plain");
            let aad = format!("Count-{n}");
            (sender.0.sequence, receiver.0.sequence) = (n, n);
            let mut sealed = message(&plain);
            sender.seal(aad.as_bytes(), &mut sealed).unwrap();
            assert_eq!(sealed, expected, "message {n}");
            assert_eq!(receiver.open(aad.as_bytes(), &mut sealed).unwrap(), plain);
        }
    }
}

#[test]
fn messages_open_in_their_order_only() {
    let (recipient, psk_key) = (key(1), key(2));
    let psk = psk(&psk_key);
    let (share, mut sender) = Sender::new(&xwing::public(&recipient), psk, INFO).unwrap();
    let mut receiver = Receiver::new(&recipient, &share, psk, INFO).unwrap();
    let sealed: Vec<_> = (0..300u32)
        .map(|n| {
            let mut sealed = message(&n.to_le_bytes());
            sender.seal(AAD, &mut sealed).unwrap();
            sealed
        })
        .collect();
    for (n, whole) in (0u32..).zip(&sealed) {
        let other = sealed.get(if n == 0 { 1 } else { 0 }).unwrap();
        assert!(matches!(receiver.open(AAD, &mut other.clone()), Err(Error::Unauthentic)));
        let mut opened = whole.clone();
        assert_eq!(receiver.open(AAD, &mut opened).unwrap(), n.to_le_bytes());
    }
}

#[test]
fn another_key_psk_id_info_or_aad_opens_nothing() {
    let (recipient, psk_key) = (key(1), key(2));
    let right = psk(&psk_key);
    let (share, mut sender) = Sender::new(&xwing::public(&recipient), right, INFO).unwrap();
    let mut sealed = message(b"plain");
    sender.seal(AAD, &mut sealed).unwrap();
    let open = |recipient: &SecretKey, psk: Psk<'_>, info: &[u8], aad: &[u8]| {
        let mut message = sealed.clone();
        let opened = Receiver::new(recipient, &share, psk, info)?.open(aad, &mut message)?.to_vec();
        Ok::<_, Error>(opened)
    };
    assert_eq!(open(&recipient, right, INFO, AAD).unwrap(), b"plain");
    let (other, other_id) = (key(3), Psk { key: &psk_key, id: b"psj" });
    for refused in [
        open(&other, right, INFO, AAD),
        open(&recipient, psk(&other), INFO, AAD),
        open(&recipient, other_id, INFO, AAD),
        open(&recipient, right, b"infp", AAD),
        open(&recipient, right, INFO, b"aae"),
    ] {
        assert!(matches!(refused, Err(Error::Unauthentic)));
    }
    for bit in 0..sealed.len() * 8 {
        let mut altered = sealed.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let mut receiver = Receiver::new(&recipient, &share, right, INFO).unwrap();
        let before = altered.clone();
        assert!(matches!(receiver.open(AAD, &mut altered), Err(Error::Unauthentic)));
        assert_eq!(altered, before, "nothing of the plaintext shows");
    }
    let mut receiver = Receiver::new(&recipient, &share, right, INFO).unwrap();
    assert!(matches!(receiver.open(AAD, &mut [0; 15]), Err(Error::Damaged { .. })));
}

#[test]
fn a_generator_that_fails_is_an_error() {
    let (recipient, psk_key) = (xwing::public(&key(1)), key(2));
    let failed = Sender::with(&recipient, psk(&psk_key), INFO, |_| Err(Error::Random));
    assert!(matches!(failed.map(drop), Err(Error::Random)));
}

#[test]
fn every_setup_draws_anew() {
    let (recipient, psk_key) = (xwing::public(&key(1)), key(2));
    let (one, _) = Sender::new(&recipient, psk(&psk_key), INFO).unwrap();
    let (other, _) = Sender::new(&recipient, psk(&psk_key), INFO).unwrap();
    assert!(one[..32] != other[..32] && one[SHARE_LEN - 32..] != other[SHARE_LEN - 32..]);
}

#[test]
fn the_last_sequence_number_is_not_used() {
    let (recipient, psk_key) = (xwing::public(&key(1)), key(2));
    let (_, mut sender) = Sender::new(&recipient, psk(&psk_key), INFO).unwrap();
    sender.0.sequence = u64::MAX;
    assert!(matches!(sender.seal(AAD, &mut message(b"x")), Err(Error::Misuse(_))));
}

/// The crate `hpke`, which has its own key schedule.
#[test]
fn the_hpke_crate_opens_what_is_sealed_here_and_the_reverse() {
    for n in 0..32u8 {
        let (recipient, psk_key) = (key(n), key(100 + n));
        let id = [n; 5];
        let psk = Psk { key: &psk_key, id: &id };
        let bundle = || PskBundle::new(psk_key.expose(), &id).unwrap();
        let plain = vec![n; 40 * usize::from(n)];

        let (share, mut sender) = Sender::new(&xwing::public(&recipient), psk, INFO).unwrap();
        let their_key = <XWing as Kem>::PrivateKey::from_bytes(recipient.expose()).unwrap();
        let their_share = <XWing as Kem>::EncappedKey::from_bytes(&share[..]).unwrap();
        let mut theirs = hpke::setup_receiver::<TheirAead, HkdfSha256, XWing>(
            &OpModeR::Psk(bundle()),
            &their_key,
            &their_share,
            INFO,
        )
        .unwrap();
        for _ in 0..3 {
            let mut sealed = message(&plain);
            sender.seal(AAD, &mut sealed).unwrap();
            assert_eq!(theirs.open(&sealed, AAD).unwrap(), plain);
        }

        let their_public = XWing::sk_to_pk(&their_key);
        let (share, mut theirs) = hpke::setup_sender::<TheirAead, HkdfSha256, XWing>(
            &OpModeS::Psk(bundle()),
            &their_public,
            INFO,
        )
        .unwrap();
        let share: [u8; SHARE_LEN] = share.to_bytes().as_slice().try_into().unwrap();
        let mut receiver = Receiver::new(&recipient, &share, psk, INFO).unwrap();
        for _ in 0..3 {
            let mut sealed = theirs.seal(&plain, AAD).unwrap();
            assert_eq!(receiver.open(AAD, &mut sealed).unwrap(), plain);
        }
    }
}
