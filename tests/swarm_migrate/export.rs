use std::fs;

use nodeseal::keyring::Inspection;
use nodeseal::swarm::{self, KeyFile, export, import, plan_export, plan_import};
use nodeseal::{Error, UnlockKey};

use crate::{Capture, beside, captures, content, read, segment, snapshot_of};

#[test]
fn every_capture_goes_into_the_native_store_and_back() {
    for name in captures() {
        let capture = Capture::unpack(&name);
        let (native, back) = (beside(&capture, "native"), beside(&capture, "back"));
        let key = capture.key();
        let before = snapshot_of(&capture.dir());
        let original = read(&capture.dir(), &capture);
        let planned = plan_export(capture.dir(), &native, key.as_ref()).unwrap();
        assert!(!native.exists());
        let out = export(capture.dir(), &native, key.as_ref()).unwrap();
        assert_eq!(planned, out, "{name}");
        assert_eq!(out.objects, original.objects.counts(), "{name}");
        assert_eq!(Some(out.last_index), original.raft.last_index, "{name}");
        assert_eq!(out.locked, key.is_some(), "{name}");

        let facts = Inspection::read(native.join("node.keys")).unwrap();
        assert_eq!(facts.is_locked(), key.is_some());
        assert_eq!(facts.identity.node(), original.raft.member.as_ref().unwrap().node_id);
        assert!(original.objects.clusters.contains_key(facts.identity.cluster()));

        let stored = snapshot_of(&native);
        let planned = plan_import(&native, &back, key.as_ref()).unwrap();
        assert!(!back.exists());
        assert_eq!(snapshot_of(&native), stored, "{name}: only looked at");
        let into = import(&native, &back, key.as_ref()).unwrap();
        assert_eq!(planned, into, "{name}");
        assert_eq!((&into.objects, into.last_index), (&out.objects, out.last_index), "{name}");
        let again = read(&back, &capture);
        assert!(again.is_complete(), "{name}: {:?}", again.findings);
        assert_eq!(content(&again), content(&original), "{name}");
        assert_eq!(again.raft.member, original.raft.member);
        assert_eq!(again.raft.hard_state, original.raft.hard_state);
        assert_eq!(again.raft.last_index, original.raft.last_index);
        assert_eq!(again.raft.uncommitted, original.raft.uncommitted);
        let found = swarm::doctor(&back, key.as_ref()).unwrap();
        assert!(found.is_well(), "{name}: {:?}", found.inspection.findings);
        assert_eq!(snapshot_of(&capture.dir()), before, "{name} is as it was");

        // The same keys for the node, another DEK.
        let keys = |dir: &std::path::Path| {
            let text = fs::read(dir.join("certificates/swarm-node.key")).unwrap();
            let file = KeyFile::parse(&text).unwrap();
            (file.kek_version(), file.unlock(key.as_ref()).unwrap())
        };
        let ((version, old), (same, new)) = (keys(&capture.dir()), keys(&back));
        assert_eq!((version, old.tls_key.expose()), (same, new.tls_key.expose()), "{name}");
        assert!(!old.current.unwrap().ct_eq(new.current.as_ref().unwrap()));
        for file in ["docker-state.json", "state.json", "certificates/swarm-node.crt"] {
            let read = |dir: &std::path::Path| fs::read(dir.join(file)).unwrap();
            assert_eq!(read(&capture.dir()), read(&back), "{name}: {file}");
        }
    }
}

#[test]
fn what_is_not_whole_is_not_exported_and_what_is_taken_is_not_written_over() {
    let capture = Capture::unpack("1-autolocked");
    let (key, native) = (capture.key(), beside(&capture, "native"));
    let other = UnlockKey::generate().unwrap();
    let to = |dir: &std::path::Path| export(capture.dir(), dir, key.as_ref());
    assert!(matches!(export(capture.dir(), &native, None), Err(Error::KeyRequired)));
    assert!(matches!(export(capture.dir(), &native, Some(&other)), Err(Error::WrongKey)));
    assert!(matches!(to(&capture.dir()), Err(Error::Exists(_))));
    assert!(!native.exists());

    fs::create_dir(&native).unwrap();
    to(&native).unwrap();
    assert!(matches!(to(&native), Err(Error::Exists(_))), "it is not empty any more");
    let back = beside(&capture, "back");
    assert!(matches!(import(&native, &back, None), Err(Error::KeyRequired)));
    assert!(matches!(import(&native, &back, Some(&other)), Err(Error::WrongKey)));
    assert!(matches!(import(&native, capture.dir(), key.as_ref()), Err(Error::Exists(_))));
    assert!(!back.exists());

    let wal = segment::only(&capture.dir());
    let last = segment::frames(&wal).pop().unwrap().range;
    segment::flip(&wal, last.start - 40);
    let again = beside(&capture, "again");
    assert!(matches!(to(&again), Err(Error::Damaged { .. })));
    assert!(!again.exists());
    assert_eq!(fs::read_dir(again.parent().unwrap()).unwrap().count(), 2, "nothing is left over");
}
