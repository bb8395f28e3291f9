//! What genuine managers wrote, decoded and encoded again: the same bytes.

#[path = "../../tests/support/capture.rs"]
pub(super) mod capture;

use std::path::PathBuf;

use capture::Capture;

use super::folder::Folder;
use super::image::Image;
use super::key_file::NodeKeys;
use super::log::{Entry, HardState, Keys, Members, RaftMember, SnapshotPoint};
use super::pem::Block;
use super::replay::Replay;
use super::{KeyFile, KeyForm, key_file, pkcs8, record, snapshot};
use crate::UnlockKey;
use crate::error::Place;
use crate::fs::{Fs, RealFs, SimFs};
use crate::secret::SecretKey;
use crate::swarm::finding::Findings;
use crate::wal::etcd::{Draft, SEGMENT_SIZE, Writer};
use crate::wal::{self, Kind, SegmentName, SegmentReader, Step};

struct Opened {
    capture: Capture,
    folder: Folder,
    text: Vec<u8>,
    file: KeyFile,
    keys: NodeKeys,
}

fn each(mut test: impl FnMut(&str, &Opened)) {
    for name in capture::all() {
        let capture = Capture::unpack(&name);
        let folder = Folder::new(&capture.dir());
        let text = std::fs::read(folder.key_file()).unwrap();
        let file = KeyFile::parse(&text).unwrap();
        let keys = file.unlock(capture.key().as_ref()).unwrap();
        test(&name, &Opened { capture, folder, text, file, keys });
    }
}

impl Opened {
    fn keys(&self) -> Keys<'_> {
        Keys { pending: self.keys.pending.as_ref(), current: self.keys.current.as_ref() }
    }

    /// The key that opens a record.
    fn key_of(&self, sealed: &[u8]) -> Option<&SecretKey> {
        let all = [self.keys.pending.as_ref(), self.keys.current.as_ref()];
        let opens =
            |key: &&SecretKey| record::Record::parse(sealed).unwrap().open(Some(key)).is_ok();
        all.into_iter().flatten().find(opens)
    }
}

/// A record's kind and data.
type Raw = (Kind, Option<Vec<u8>>);

/// The records of a segment, and where its frames end.
fn records(path: &std::path::Path) -> (Vec<Raw>, u64) {
    let file = RealFs::default().open_read(path).unwrap();
    let mut reader = SegmentReader::new(&*file, path, true, None).unwrap();
    let mut records = Vec::new();
    loop {
        match reader.next().unwrap().unwrap() {
            Step::Record(record) if record.kind == Kind::Crc => records.push((Kind::Crc, None)),
            Step::Record(record) => records.push((record.kind, Some(reader.data().to_vec()))),
            Step::End { offset, .. } => return (records, offset),
            other => panic!("{other:?}"),
        }
    }
}

/// The CRC with which a segment begins.
fn stated_chain(path: &std::path::Path) -> u32 {
    let file = RealFs::default().open_read(path).unwrap();
    let mut reader = SegmentReader::new(&*file, path, true, None).unwrap();
    reader.next().unwrap();
    reader.chain().unwrap()
}

#[test]
fn key_files_are_written_as_dockerd_writes_them() {
    each(|name, one| {
        let block = Block::parse(&one.text).unwrap();
        assert_eq!(block.encode().expose(), one.text, "{name}");
        let body = block.body.expose();
        let kek = one.capture.key();
        if let Some(kek) = &kek {
            assert_eq!(one.file.form(), KeyForm::EncryptedPkcs8, "{name}");
            assert_eq!(pkcs8::again(body, kek.secret().expose()).expose(), body, "{name}");
        }
        for header in ["raft-dek", "raft-dek-pending"] {
            let Some(value) = block.header(header) else { continue };
            let record = super::pem::base64(value).unwrap();
            let again = record::again(record.expose(), kek.as_ref().map(UnlockKey::secret));
            assert_eq!(again.expose(), record.expose(), "{name}");
        }
        let contents = key_file::Contents {
            cipher: one.file.cipher(),
            tls_key: &one.keys.tls_key,
            kek_version: one.file.kek_version().unwrap(),
            current: one.keys.current.as_ref(),
            pending: one.keys.pending.as_ref(),
            needs_rotation: one.file.needs_rotation(),
        };
        // But for salt, IV and nonces, which are as long as before.
        let again = contents.encode(kek.as_ref()).unwrap();
        assert_eq!(again.len(), one.text.len(), "{name}");
        let (new, old) = (KeyFile::parse(again.expose()).unwrap(), &one.file);
        assert_eq!(format!("{new:?}"), format!("{old:?}"), "{name}");
        let keys = new.unlock(kek.as_ref()).unwrap();
        assert_eq!(keys.tls_key.expose(), one.keys.tls_key.expose());
        assert!(keys.current.unwrap().ct_eq(one.keys.current.as_ref().unwrap()));
    });
}

#[test]
fn segments_are_written_as_dockerd_writes_them() {
    each(|name, one| {
        let (segments, _) = wal::list(&RealFs::default(), &one.folder.log()).unwrap();
        assert!(!segments.is_empty());
        let mut chain = 0;
        for segment in &segments {
            let (records, end) = records(&segment.path);
            let end = usize::try_from(end).unwrap();
            let original = std::fs::read(&segment.path).unwrap();
            let mut records = records.into_iter();
            assert_eq!(records.next(), Some((Kind::Crc, None)));
            let (kind, metadata) = records.next().unwrap();
            assert_eq!(kind, Kind::Metadata);
            let metadata = metadata.unwrap();
            assert_eq!(RaftMember::parse(&metadata).unwrap().encode(), metadata, "{name}");

            if segment.name.sequence > 0 && chain == 0 {
                // The first ones were collected: the chain begins with what this one states.
                chain = stated_chain(&segment.path);
            }
            let disk = SimFs::new();
            disk.create_dir_all("/log".as_ref()).unwrap();
            let mut draft =
                Draft::begin(&disk, "/log".as_ref(), segment.name, chain, &metadata, SEGMENT_SIZE)
                    .unwrap();
            for (kind, data) in records {
                let data = data.unwrap();
                draft.put(kind, &[&data]).unwrap();
                match kind {
                    Kind::Entry => {
                        let entry = Entry::parse(&data).unwrap();
                        let head = entry.head(entry.data.len());
                        assert_eq!([&head, entry.data].concat(), data, "{name}");
                        let Some(key) = one.key_of(entry.data) else { continue };
                        let again = record::again(entry.data, Some(key));
                        assert_eq!(again.expose(), entry.data, "{name}");
                    }
                    Kind::State => {
                        assert_eq!(HardState::parse(&data).unwrap().encode(), data, "{name}");
                    }
                    Kind::Snapshot => {
                        let point = SnapshotPoint::parse_record(&data).unwrap();
                        let newer = name.starts_with("docker-26") && point.index > 0;
                        let members = if newer { Members::VotersSettled } else { Members::Voters };
                        assert_eq!(point.encode_record(members), data, "{name}");
                    }
                    other => panic!("{other:?}"),
                }
            }
            chain = draft.chain();
            draft.sync().unwrap();
            let path = draft.publish().unwrap();
            let written = disk.read_file(&path).unwrap();
            assert_eq!(written.len(), usize::try_from(SEGMENT_SIZE).unwrap());
            assert!(written[..end] == original[..end], "{name}");
            assert!(written[end..].iter().all(|byte| *byte == 0));
        }
    });
}

#[test]
fn snapshots_are_written_as_dockerd_writes_them() {
    let mut seen = 0;
    each(|name, one| {
        let mut findings = Findings::default();
        let dir = one.folder.snapshots();
        let Ok(mut scan) =
            snapshot::scan(&RealFs::default(), &dir, Some(one.keys()), false, &mut findings)
        else {
            return;
        };
        let Some(loaded) = scan.loaded.take() else { return };
        let place = Place::default();
        let mut image = Image::default();
        image.load(loaded.content.expose(), &place, &mut findings);
        assert_eq!(findings.finish(), [], "{name}");
        let content = image.into_snapshot();
        assert!(content.expose() == loaded.content.expose(), "{name}");

        let members = match name.starts_with("docker-26") {
            true => Members::VotersSettled,
            false => Members::Voters,
        };
        let original = std::fs::read(&loaded.path).unwrap();
        let disk = SimFs::new();
        disk.create_dir_all("/snap".as_ref()).unwrap();
        let key = one.keys.current.as_ref().unwrap();
        let path = snapshot::Draft::write(
            &disk,
            "/snap".as_ref(),
            &loaded.point,
            members,
            record::Sealer { cipher: record::Cipher::SecretBox, key },
            content,
        )
        .unwrap()
        .publish(&disk)
        .unwrap();
        assert_eq!(path.file_name(), loaded.path.file_name());
        let mut findings = Findings::default();
        let dir = "/snap".as_ref();
        let again = snapshot::scan(&disk, dir, Some(one.keys()), false, &mut findings);
        let again = again.unwrap().loaded.unwrap();
        assert_eq!(again.point, loaded.point);
        assert!(again.content.expose() == loaded.content.expose());
        // The CRC's length follows from its value.
        let written = disk.read_file(&path).unwrap().len();
        assert!(written.abs_diff(original.len()) <= 1, "{name}");
        let metadata = loaded.point.encode_metadata(members);
        assert!(original.ends_with(&metadata), "{name}");
        seen += 1;
    });
    assert!(seen >= 4, "{seen}");
}

#[test]
fn a_new_log_grows_over_segments() {
    let disk = SimFs::new();
    disk.create_dir_all("/raft".as_ref()).unwrap();
    let dir = PathBuf::from("/raft/wal");
    let member = RaftMember { raft_id: 5, node_id: "n".into(), address: "a:1".into() };
    let mut writer = Writer::create(&disk, &dir, &member.encode(), 4096).unwrap();
    for index in 1..=40 {
        let data = vec![7; 300];
        let entry = Entry { kind: super::log::EntryKind::Normal, term: 1, index, data: &data };
        writer.entry(index, &[&entry.head(300)[..], &data].concat()).unwrap();
        if index % 5 == 0 {
            let state = HardState { term: 1, vote: 5, commit: index };
            writer.state(&state.encode()).unwrap();
        }
        assert!(disk.list(&dir).is_err(), "it has no name yet");
    }
    writer.finish().unwrap();
    let (segments, others) = wal::list(&disk, &dir).unwrap();
    assert!(others.is_empty() && segments.len() >= 3);
    let mut findings = Findings::default();
    let scan = super::log::scan(&disk, &dir, 0, &mut findings).unwrap();
    assert_eq!(findings.finish(), []);
    assert_eq!(scan.last_index(), Some(40));
    assert_eq!(scan.hard_state.unwrap().commit, 40);
    assert_eq!(scan.member, Some(member));
    for (n, pair) in segments.windows(2).enumerate() {
        assert_eq!(pair[0].name.sequence + 1, pair[1].name.sequence);
        let facts = &scan.segments[n];
        assert_eq!(facts.size, facts.used, "a segment that is followed ends with its last frame");
        assert!(facts.used >= 4096);
    }
    assert!(Writer::create(&disk, &dir, b"", 4096).is_err());
    let name = SegmentName { sequence: 9, first_index: 50 };
    let draft = Draft::begin(&disk, &dir, name, 0, b"", 4096).unwrap();
    draft.discard();
    assert_eq!(disk.list(&dir).unwrap().len(), segments.len());
}

#[test]
fn an_old_key_file_becomes_pkcs8() {
    let made = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/swarm-keys/made");
    let text = std::fs::read_to_string(made.join("unlock-key")).unwrap();
    let kek = UnlockKey::from_text(text.trim_end()).unwrap();
    let genuine = made.with_file_name("1-autolocked");
    let text = std::fs::read_to_string(genuine.join("unlock-key")).unwrap();
    let key = UnlockKey::from_text(text.trim_end()).unwrap();
    let file = KeyFile::parse(&std::fs::read(genuine.join("swarm-node.key")).unwrap()).unwrap();
    let tls_key = file.unlock(Some(&key)).unwrap().tls_key;
    for name in ["sec1", "rfc1423-des-ede3-cbc", "rfc1423-aes-256-cbc"] {
        let file = KeyFile::parse(&std::fs::read(made.join(name).with_extension("key")).unwrap());
        let old = file.unwrap().unlock(Some(&kek)).unwrap();
        assert_ne!(old.tls_key.expose(), tls_key.expose());
        let contents = key_file::Contents {
            tls_key: &old.tls_key,
            kek_version: 7,
            current: old.current.as_ref(),
            pending: None,
            needs_rotation: false,
            cipher: record::Cipher::SecretBox,
        };
        let new = KeyFile::parse(contents.encode(Some(&key)).unwrap().expose()).unwrap();
        assert_eq!((new.form(), new.kek_version()), (KeyForm::EncryptedPkcs8, Some(7)));
        assert_eq!(new.findings(), []);
        let keys = new.unlock(Some(&key)).unwrap();
        assert_eq!(keys.tls_key.expose(), tls_key.expose(), "{name}");
        assert!(keys.current.unwrap().ct_eq(old.current.as_ref().unwrap()));
    }
}
