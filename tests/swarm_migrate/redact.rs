use std::collections::HashSet;
use std::fs;
use std::path::Path;

use nodeseal::hazmat;
use nodeseal::secret::SecretKey;
use nodeseal::swarm::{self, KeyFile, plan_redact, redact};

use crate::segment::{self, ENTRY, varint};
use crate::{Capture, beside, captures, read, snapshot_of};

/// All bytes that can be read from a redacted copy: its files, and what is sealed in them.
fn all_bytes(dir: &Path) -> Vec<Vec<u8>> {
    let text = fs::read(dir.join("certificates/swarm-node.key")).unwrap();
    let dek = KeyFile::parse(&text).unwrap().unlock(None).unwrap().current.unwrap();
    let mut found = Vec::new();
    for (path, ..) in snapshot_of(dir) {
        let bytes = fs::read(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "wal") {
            let entries = segment::frames(&path).into_iter().filter(|frame| frame.kind == ENTRY);
            found.extend(entries.filter_map(|frame| open(&frame.data, &dek, 4)));
        }
        if path.extension().is_some_and(|extension| extension == "snap") {
            let raft = part(&bytes, 2);
            found.push(open(&raft, &dek, 1).unwrap());
        }
        found.push(bytes);
    }
    found
}

/// The last field of this number.
fn part(message: &[u8], wanted: u64) -> Vec<u8> {
    let (mut at, mut found) = (0, Vec::new());
    while at < message.len() {
        let (tag, next) = varint(message, at);
        let (value, next) = varint(message, next);
        at = next;
        if tag & 7 == 2 {
            let end = at + usize::try_from(value).unwrap();
            if tag >> 3 == wanted {
                found = message[at..end].to_vec();
            }
            at = end;
        }
    }
    found
}

/// Opens the sealed record in a field; nothing if the key does not.
fn open(message: &[u8], dek: &SecretKey, field: u64) -> Option<Vec<u8>> {
    let record = part(message, field);
    let (data, nonce) = (part(&record, 2), part(&record, 3));
    let (tag, ciphertext) = data.split_at(16);
    let mut plain = ciphertext.to_vec();
    let (nonce, tag) = (nonce.as_slice().try_into().unwrap(), tag.try_into().unwrap());
    hazmat::secretbox_open(dek, nonce, tag, &mut plain).ok().map(|()| plain)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            let digit = word >> (18 - 6 * n) & 63;
            text.push(char::from(DIGITS[usize::try_from(digit).unwrap()]));
        }
    }
    text
}

/// A byte string as it is, and within a base64 text at each of the three alignments.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec()];
    for skip in 0..3.min(secret.len()) {
        let inner = &secret[skip..];
        let whole = &inner[..inner.len() / 3 * 3];
        if whole.len() >= 6 {
            forms.push(base64(whole).into_bytes());
        }
    }
    let hex = secret.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    forms.push(hex.into_bytes());
    forms
}

/// Byte strings, to be searched quickly for what is mostly not in them.
struct Haystack {
    bytes: Vec<Vec<u8>>,
    starts: HashSet<[u8; 6]>,
}

impl Haystack {
    fn new(bytes: Vec<Vec<u8>>) -> Self {
        let windows = bytes.iter().flat_map(|one| one.windows(6));
        let starts = windows.map(|window| window.try_into().unwrap()).collect();
        Self { bytes, starts }
    }

    fn holds(&self, needle: &[u8]) -> bool {
        let start = needle.first_chunk().unwrap();
        let whole = |one: &Vec<u8>| one.windows(needle.len()).any(|window| window == needle);
        self.starts.contains(start) && self.bytes.iter().any(whole)
    }
}

/// The store's cluster object in a snapshot or an entry that is in the clear.
fn keys_of_clusters(dir: &Path, dek: &SecretKey) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (path, ..) in snapshot_of(dir) {
        if path.extension().is_none_or(|extension| extension != "wal") {
            continue;
        }
        for frame in segment::frames(&path).into_iter().filter(|frame| frame.kind == ENTRY) {
            let Some(request) = open(&frame.data, dek, 4) else { continue };
            let cluster = part(&part(&request, 2), 6);
            let (root, tokens) = (part(&cluster, 4), part(&part(&cluster, 4), 4));
            let keys = [part(&cluster, 5), part(&cluster, 9)].map(|key| part(&key, 3));
            found.extend(keys.into_iter().chain([
                part(&root, 1),
                part(&tokens, 1),
                part(&tokens, 2),
            ]));
        }
    }
    found.retain(|key| key.len() >= 16);
    found.sort();
    found.dedup();
    found
}

#[test]
fn no_payload_and_no_key_is_in_a_redacted_copy_and_all_else_is() {
    for name in captures() {
        let capture = Capture::unpack(&name);
        let to = beside(&capture, "redacted");
        let original = read(&capture.dir(), &capture);
        let before = snapshot_of(&capture.dir());
        let planned = plan_redact(capture.dir(), &to, capture.key().as_ref()).unwrap();
        assert!(!to.exists());
        let done = redact(capture.dir(), &to, capture.key().as_ref()).unwrap();
        assert_eq!((done.left_out, &done), (0, &planned), "{name}");
        assert_eq!(snapshot_of(&capture.dir()), before, "{name} is as it was");

        // Everything else, by our own reader, without any key.
        let copy = swarm::State::read(&to, None).unwrap();
        assert!(copy.is_complete(), "{name}: {:?}", copy.findings);
        assert_eq!(copy.objects.counts(), original.objects.counts());
        assert_eq!(
            format!("{:?}", copy.objects.services),
            format!("{:?}", original.objects.services)
        );
        assert_eq!(format!("{:?}", copy.objects.tasks), format!("{:?}", original.objects.tasks));
        assert_eq!(format!("{:?}", copy.objects.nodes), format!("{:?}", original.objects.nodes));
        assert_eq!(copy.objects.members, original.objects.members);
        for (id, secret) in &original.objects.secrets {
            let other = &copy.objects.secrets[id];
            assert_eq!(other.facts, secret.facts);
            assert_eq!(other.payload.len(), secret.payload.len());
            assert!(other.payload.expose().iter().all(|byte| *byte == 0));
        }
        for (id, cluster) in &original.objects.clusters {
            assert_eq!(copy.objects.clusters[id].facts, cluster.facts);
            assert_eq!(copy.objects.clusters[id].unlock_keys.len(), cluster.unlock_keys.len());
        }
        let (old, new) = (&original.raft, &copy.raft);
        assert_eq!(
            (&new.member, new.hard_state, new.last_index),
            (&old.member, old.hard_state, old.last_index)
        );
        assert_eq!(new.entries.total, old.entries.total, "{name}");
        assert_eq!(new.entries.unopened, old.entries.unopened, "{name}");
        assert_eq!(new.snapshots.len(), old.snapshots.len());
        let records = |facts: &swarm::RaftFacts| -> Vec<_> {
            facts.segments.iter().map(|one| (one.name.clone(), one.records, one.entries)).collect()
        };
        assert_eq!(records(new), records(old), "{name}");

        // And nothing that is secret.
        let text = fs::read(capture.dir().join("certificates/swarm-node.key")).unwrap();
        let keys = KeyFile::parse(&text).unwrap().unlock(capture.key().as_ref()).unwrap();
        let dek = keys.current.unwrap();
        let mut secrets = keys_of_clusters(&capture.dir(), &dek);
        secrets.push(dek.expose().to_vec());
        let scalar = keys.tls_key.expose();
        let at = scalar.windows(4).position(|window| window == [1, 1, 4, 32]).unwrap() + 4;
        secrets.push(scalar[at..at + 32].to_vec());
        let payloads = original.objects.secrets.values().map(|secret| secret.payload.expose());
        secrets.extend(payloads.filter(|payload| payload.len() >= 8).map(|payload| {
            // The start is as telling as the whole, and quicker to look for.
            payload[..payload.len().min(24)].to_vec()
        }));
        assert!(secrets.len() > original.objects.secrets.len() / 2 + 3, "{name}");
        let haystack = Haystack::new(all_bytes(&to));
        for secret in &secrets {
            for form in forms(secret) {
                assert!(!haystack.holds(&form), "{name}: {} bytes", form.len());
            }
        }
        // The search finds what is there.
        let member = original.raft.member.unwrap();
        assert!(haystack.holds(member.node_id.as_bytes()));
        assert!(!to.join("worker/tasks.db").exists());
    }
}

#[test]
fn a_damaged_folder_is_redacted_too() {
    let capture = Capture::unpack("1-autolocked");
    let wal = segment::only(&capture.dir());
    let frames = segment::frames(&wal);
    let at = frames.iter().find(|f| f.kind == ENTRY && f.index() == 15).unwrap().range.start;
    segment::flip(&wal, at + 60);
    segment::flip(&wal, frames.last().unwrap().range.start);
    let to = beside(&capture, "redacted");
    let done = redact(capture.dir(), &to, capture.key().as_ref()).unwrap();
    assert_eq!((done.replaced, done.findings.is_empty()), (1, false), "{done:?}");
    let notes = fs::read_to_string(to.join("redacted.txt")).unwrap();
    assert_eq!(notes.lines().count(), done.findings.len() + 1);
    let copy = swarm::State::read(&to, None).unwrap();
    assert!(!copy.is_complete());
    assert_eq!(copy.raft.last_index, Some(21));
}
