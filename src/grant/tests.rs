use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::secret::SecretBytes;

fn secret(text: &str) -> SecretId {
    SecretId::new(text).unwrap()
}

fn reference(name: &str, target: &str) -> Reference {
    Reference::new(secret("s1"), name).unwrap().at(Target::new(target).unwrap())
}

#[test]
fn ids_are_fit_for_file_names() {
    for good in ["a", "0.b-c_d", &"x".repeat(64)] {
        assert_eq!(NodeId::new(good).unwrap().to_string(), good);
    }
    for bad in ["", ".", "..", "-a", "_a", "a/b", "a b", "a\n", "ä", "a\0", "a\0b", &"x".repeat(65)]
    {
        assert!(NodeId::new(bad).is_err(), "{bad:?}");
    }
}

proptest! {
    /// However long they are, and wherever their text is kept.
    #[test]
    fn ids_are_ordered_as_their_texts(a in "[a-c0-1][a-b._-]{0,63}", b in "[a-c0-1][a-b._-]{0,63}") {
        for (a, b) in [(&*a, &*b), (&*a, &a[..a.len().min(30)]), (&*a, &a[..a.len().min(31)])] {
            let (x, y) = (TaskId::new(a).unwrap(), TaskId::new(b).unwrap());
            prop_assert_eq!((x.as_str(), y.as_str()), (a, b));
            prop_assert_eq!(x.cmp(&y), a.cmp(b));
            prop_assert_eq!(x == y, a == b);
            #[cfg(feature = "cluster")]
            prop_assert!(x > y || x.prefix() <= y.prefix());
            let hashes = HashSet::from([x, y]);
            prop_assert_eq!(hashes.len() == 1, a == b);
        }
    }
}

#[test]
fn a_target_stays_below_its_directory() {
    for good in ["a", "a b", ".hidden", "..a", "a..", "tls/key.pem", &"x".repeat(255)] {
        assert_eq!(Target::new(good).unwrap().as_str(), good);
    }
    let long = "x".repeat(256);
    for bad in
        ["", "/", "/a", "a/", "a//b", ".", "..", "../x", "a/../b", "a/./b", "a\0b", "a\nb", &long]
    {
        assert!(Target::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn targets_conflict_as_files_do() {
    let conflict = |a: &str, b: &str| Target::new(a).unwrap().conflicts(&Target::new(b).unwrap());
    assert!(conflict("a", "a") && conflict("a", "a/b") && conflict("a/b/c", "a/b"));
    assert!(!conflict("a", "ab") && !conflict("a/b", "a/c") && !conflict("a.b", "a/b"));
    for (targets, fit) in [
        (&["a", "a"][..], false),
        (&["a/b", "a-b", "a"], false),
        (&["a", "b", "ab", "a.c", "c/a"], true),
        (&["x/y/z", "x/y"], false),
    ] {
        let references: Vec<_> = targets.iter().map(|target| reference("n", target)).collect();
        assert_eq!(check_references(&references).is_ok(), fit, "{targets:?}");
    }
}

#[test]
fn modes_and_owners_are_checked_when_they_are_given() {
    for (text, bits) in [("0440", 0o440), ("0o600", 0o600), ("0", 0), ("0777", 0o777)] {
        assert_eq!(text.parse::<Mode>().unwrap().bits(), bits);
    }
    for bad in ["", "444", "999", "04000", "01777", "0x1ff", "08", "0 4", "0oo7", "0o", "-0440"] {
        assert!(bad.parse::<Mode>().is_err(), "{bad:?}");
    }
    assert_eq!(Mode::default().to_string(), "0444");
    assert_eq!((parse_owner("0").unwrap(), parse_owner("4294967294").unwrap()), (0, u32::MAX - 1));
    for bad in ["", "root", "-1", "+1", "1 ", "4294967295", "99999999999"] {
        assert!(parse_owner(bad).is_err(), "{bad:?}");
    }
    let mut nobody = reference("n", "a");
    nobody.uid = u32::MAX;
    assert!(check_references(&[nobody]).is_err());
}

#[test]
fn dockers_idiom_replaces_by_name_and_keeps_the_target() {
    let now = [reference("old", "password"), reference("old", "again"), reference("other", "o")];
    let new = [reference("new", "password")];
    let edited = edit_references(&now, &["old", "never-there"], &new).unwrap();
    let shown: Vec<_> = edited.iter().map(|r| (r.name.as_str(), r.target.as_str())).collect();
    assert_eq!(shown, [("other", "o"), ("new", "password")]);
    assert!(edit_references(&now, &[], &new).is_err(), "the target is in use");
}

fn assignment() -> Assignment {
    let grant = Grant {
        secret: secret("s1"),
        version: 300,
        target: Target::new("tls/key").unwrap(),
        uid: 1000,
        gid: 0,
        mode: Mode::new(0o400).unwrap(),
    };
    let payload = SecretBytes::from(&b"payload"[..]);
    let task = TaskId::new("t1").unwrap();
    Assignment {
        node: NodeId::new("w1").unwrap(),
        scope: Scope::Since(8),
        sequence: 9,
        changes: vec![
            Change::Secret { secret: secret("s1"), version: 300, payload },
            Change::Task { task: task.clone(), grants: vec![grant] },
            Change::TaskRemoved { task },
            Change::SecretRemoved { secret: secret("s0"), version: 1 },
        ],
    }
}

#[test]
fn an_assignment_has_one_encoding() {
    let bytes = assignment().encode();
    let expected: &[u8] = &[
        &b"\x01\x02w1\x01\x08\x09\x04"[..],
        b"\x00\x02s1\xac\x02\x07payload",
        b"\x01\x02t1\x01\x02s1\xac\x02\x07tls/key\xe8\x07\x00\x80\x02",
        b"\x02\x02t1",
        b"\x03\x02s0\x01",
    ]
    .concat();
    assert_eq!(bytes.expose(), expected);
    assert_eq!(Assignment::decode(expected).unwrap().encode().expose(), expected);
    for len in 0..expected.len() {
        assert!(Assignment::decode(&expected[..len]).is_err(), "cut to {len}");
    }
    assert!(Assignment::decode(&[expected, &[0]].concat()).is_err());
    let later = [&[2], &expected[1..]].concat();
    assert!(matches!(Assignment::decode(&later), Err(Error::Unsupported { .. })));
    assert!(!format!("{:?}", assignment()).contains("112"), "a payload shows");
}

#[test]
fn an_assignment_is_sealed_to_one_node() {
    let (mine, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let sealed = assignment().seal_to(&mine.public()).unwrap();
    assert_eq!(sealed.len(), SEALED_OVERHEAD + assignment().encode().len());
    assert_eq!(mine.open(&sealed).unwrap().encode().expose(), assignment().encode().expose());
    assert!(matches!(other.open(&sealed), Err(Error::Unauthentic)));
    let kept = NodeKey::from_bytes(mine.expose()).unwrap();
    assert_eq!(kept.open(&sealed).unwrap().sequence, 9);
    assert!(NodeKey::from_bytes(&[1; 31]).is_err());
    let low_order = NodePublicKey::from_bytes([0; 32]);
    assert!(assignment().seal_to(&low_order).is_err());
}
