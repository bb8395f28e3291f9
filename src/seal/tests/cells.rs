use std::path::Path;

use super::*;
use crate::keyring::{LockPolicy, Opened};

#[test]
fn a_cell_is_xchacha20_poly1305_under_a_key_derived_by_hand() {
    let keyring = keyring();
    let cells = raft(&keyring).cells();
    for len in [0, 1, 64, 1000] {
        let plain = vec![3; len];
        let sealed = cells.seal("table", b"row", &plain).unwrap();
        assert_eq!(sealed.bytes().len(), len + 49);
        let opened = node(&keyring).open_cell("table", b"row", sealed.bytes());
        assert_eq!(opened.as_ref(), Some(&plain));
        let by_hand = node(&keyring).cell("table", b"row", [8; 24], &plain);
        assert_eq!(cells.open("table", b"row", &by_hand).unwrap().expose(), plain);
    }
    let one = cells.seal("t", b"r", b"same").unwrap().bytes().to_vec();
    let other = cells.seal("t", b"r", b"same").unwrap().bytes().to_vec();
    assert_ne!(one[9..33], other[9..33], "nonces");
}

#[test]
fn a_cell_is_resealed_under_the_active_dek() {
    let keyring = keyring();
    let cells = raft(&keyring).cells();
    let old = cells.seal("t", b"r", b"plain").unwrap().bytes().to_vec();
    let uses = keyring.status().deks[0].uses;
    assert!(cells.reseal("t", b"r", &old).unwrap().is_none());
    assert_eq!(keyring.status().deks[0].uses, uses);
    keyring.rotate_dek(crate::Reason::Requested).unwrap();
    assert!(matches!(cells.reseal("t", b"other", &old), Err(Error::Unauthentic)));
    let new = cells.reseal("t", b"r", &old).unwrap().unwrap();
    assert_eq!(new.bytes()[1..9], keyring.status().deks[0].id.to_bytes());
    assert_eq!(cells.open("t", b"r", new.bytes()).unwrap().expose(), b"plain");
}

fn state() -> State {
    State {
        last: entry(u64::MAX, 7),
        committed: entry(8, 6),
        purged: entry(3, 2),
        snapshot: Some(StreamId::from_bytes([4; 16])),
        sequence: 99,
        vote: b"the vote".to_vec(),
    }
}

#[test]
fn the_state_cell_comes_back_as_it_was() {
    let cells = raft(&keyring()).cells();
    let bare = State { snapshot: None, vote: Vec::new(), ..state() };
    for state in [State::default(), state(), bare] {
        let sealed = cells.seal_state(&state).unwrap();
        assert_eq!(cells.open_state(sealed.bytes()).unwrap(), state);
    }
    let large = State { vote: vec![0; 4097], ..State::default() };
    assert!(matches!(cells.seal_state(&large), Err(Error::Misuse(crate::Misuse::TooLarge { .. }))));
}

#[test]
fn the_state_cell_has_its_documented_bytes() {
    let keyring = keyring();
    let sealed = raft(&keyring).cells().seal_state(&state()).unwrap();
    let plain = node(&keyring).open_cell("nodeseal/state", b"", sealed.bytes()).unwrap();
    let mut expected = vec![1];
    for number in [u64::MAX, 7, 8, 6, 3, 2, 99, keyring.status().epoch] {
        expected.extend_from_slice(&number.to_le_bytes());
    }
    expected.push(1);
    expected.extend_from_slice(&[4; 16]);
    expected.extend_from_slice(b"the vote");
    assert_eq!(plain, expected);
}

#[test]
fn a_state_of_another_form_is_damaged_or_unsupported() {
    let keyring = keyring();
    let (cells, by_hand) = (raft(&keyring).cells(), node(&keyring));
    let sealed = cells.seal_state(&State { vote: Vec::new(), ..state() }).unwrap();
    let plain = by_hand.open_cell("nodeseal/state", b"", sealed.bytes()).unwrap();
    let open = |plain: &[u8]| {
        let cell = by_hand.cell("nodeseal/state", b"", [1; 24], plain);
        cells.open_state(&cell)
    };
    assert!(open(&plain).is_ok());
    for len in 0..plain.len() {
        assert!(matches!(open(&plain[..len]), Err(Error::Damaged { .. })), "{len}");
    }
    let mut other = plain.clone();
    other[65] = 2;
    assert!(matches!(open(&other), Err(Error::Damaged { .. })));
    other = plain.clone();
    other[0] = 2;
    assert!(matches!(open(&other), Err(Error::Unsupported { .. })));
    let vote = [&plain[..], &[0; 4097]].concat();
    assert!(matches!(open(&vote), Err(Error::Damaged { .. })));
}

#[test]
fn an_older_state_opens_and_an_older_key_file_does_not() {
    let disk = SimFs::new();
    let place = || Location::on(Arc::new(disk.clone()), "/keys");
    let me = Identity::new("prod", "m1").unwrap();
    let open = || match Keyring::open(place(), &me, LockPolicy::Any).unwrap() {
        Opened::Unlocked(keyring) => keyring,
        Opened::Locked(_) => panic!("not locked"),
    };
    let file = Path::new("/keys/node.keys");
    let keyring = Keyring::create(place(), &me, Protector::none(), &[]).unwrap();
    let older = raft(&keyring).cells().seal_state(&State::default()).unwrap().bytes().to_vec();
    let old_file = disk.read_file(file).unwrap();
    keyring.attach("tls", b"new key").unwrap();
    let newer = raft(&keyring).cells().seal_state(&state()).unwrap().bytes().to_vec();
    // The older one opens: what must not be put back is found out only by what it names.
    assert_eq!(raft(&keyring).cells().open_state(&older).unwrap(), State::default());
    keyring.rotate_dek(crate::Reason::Requested).unwrap();
    let newest = raft(&keyring).cells().seal_state(&state()).unwrap().bytes().to_vec();
    drop(keyring);

    disk.write_file(file, &old_file).unwrap();
    let keyring = open();
    let epoch = keyring.status().epoch;
    match raft(&keyring).cells().open_state(&newer) {
        Err(Error::RolledBack { what: "key file", found, expected }) => {
            assert_eq!((found, expected), (epoch, epoch + 1));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(raft(&keyring).cells().open_state(&newest), Err(Error::UnknownDek(_))));
    assert!(raft(&keyring).cells().open_state(&older).is_ok());
}

#[test]
fn what_was_sealed_is_not_in_debug() {
    let shown = format!("{:?}", state());
    assert!(shown.contains("8 bytes") && !shown.contains("vote\""), "{shown}");
    assert!(!shown.contains("116"), "{shown}");
}
