//! A manager's whole folder: log, snapshot and objects, put together from parts and then damaged.
//!
//! A log as a manager writes it must be read whole. And whatever is damaged in one place is told,
//! or changes nothing.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nodeseal::swarm::{Finding, Severity, State};
use nodeseal_fuzz::segment::{CRC, ENTRY, METADATA, SNAPSHOT, STATE, Writer};
use nodeseal_fuzz::swarm::{
    DEK, boxed_record, bytes_field, content, disk, fernet_record, put, put_bytes, put_uint,
    raft_snapshot, read, segment_path, snapshot_file, snapshot_path, uints,
};

/// Zeros behind the last frame, in bytes.
const TAIL: usize = 1024;
const RAFT_ID: u64 = 7;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// The log is one that a manager could have written.
    genuine: bool,
    snapshot: Option<Snapshot<'a>>,
    records: Vec<Record<'a>>,
    damage: Option<Damage>,
}

#[derive(Arbitrary, Debug)]
struct Snapshot<'a> {
    term: u8,
    index: u8,
    secrets: Vec<(u8, &'a [u8])>,
}

#[derive(Arbitrary, Debug)]
enum Record<'a> {
    Entry { skip: u8, kind: u8, fernet: bool, content: Content<'a> },
    State { term: u8, vote: u8, commit: u8 },
    Snapshot { index: u8, term: u8 },
    Metadata { raft_id: u8 },
    NextSegment,
    Other { kind: u8, data: &'a [u8] },
}

#[derive(Arbitrary, Debug)]
enum Content<'a> {
    Secret { id: u8, payload: &'a [u8] },
    Remove { id: u8 },
    Member { raft_id: u8, removed: bool },
    Raw(&'a [u8]),
    Unsealed(&'a [u8]),
    Empty,
}

#[derive(Arbitrary, Debug)]
enum Damage {
    Flip { file: u8, at: u16, bit: u8 },
    Zero { file: u8, at: u16, len: u8 },
    Fill { file: u8, at: u16, with: u8, len: u8 },
    Cut { file: u8, len: u16 },
    Missing { file: u8 },
}

/// Files of a folder, in their order.
type Files = Vec<(std::path::PathBuf, Vec<u8>)>;

fuzz_target!(|input: Input<'_>| {
    if input.records.len() > 64 {
        return;
    }
    let mut log = Log::default();
    let files = if input.genuine { log.genuine(&input) } else { log.any(&input) };
    let state = read_files(&files);
    if input.genuine {
        let secrets = state
            .objects
            .secrets
            .iter()
            .map(|(id, secret)| (id.clone(), secret.payload.expose().to_vec()));
        assert_eq!(secrets.collect::<BTreeMap<_, _>>(), log.secrets);
        assert!(state.is_complete(), "{:?}", state.findings);
        assert!(!state.findings.iter().any(serious), "{:?}", state.findings);
    }
    if let Some(damage) = &input.damage {
        let damaged = read_files(&damage.done(files));
        if input.genuine && damage.is_flip() && !damaged.findings.iter().any(serious) {
            assert_eq!(content(&damaged.objects), content(&state.objects), "silent damage");
            assert_eq!(damaged.raft.last_index, state.raft.last_index);
        }
    }
});

fn serious(finding: &Finding) -> bool {
    finding.severity >= Severity::Warning
}

fn read_files(files: &Files) -> State {
    let disk = disk();
    files.iter().for_each(|(path, bytes)| put(&disk, path, bytes));
    if files.is_empty() {
        put(&disk, segment_path(0, 0), b"");
    }
    read(&disk)
}

/// Writes segments, and keeps what should be in the state.
#[derive(Default)]
struct Log {
    writer: Writer,
    files: Files,
    secrets: BTreeMap<String, Vec<u8>>,
    index: u64,
    first: u64,
}

impl Log {
    /// Without a snapshot: every entry counts, all are committed, and the node is alone.
    fn genuine(&mut self, input: &Input<'_>) -> Files {
        self.begin(RAFT_ID);
        for record in &input.records {
            match record {
                Record::Entry { fernet, content, .. } => {
                    let (kind, content) = match content {
                        Content::Secret { id, payload } => {
                            let action = 1 + u64::from(self.secrets.contains_key(&name(*id)));
                            self.secrets.insert(name(*id), payload.to_vec());
                            (0, request(action, *id, payload))
                        }
                        Content::Remove { id } if self.secrets.contains_key(&name(*id)) => {
                            self.secrets.remove(&name(*id));
                            (0, request(3, *id, b""))
                        }
                        _ => (0, Vec::new()),
                    };
                    self.index += 1;
                    self.entry(self.index, kind, &self.sealed(*fernet, &content));
                }
                Record::NextSegment => self.next_segment(),
                _ => self.writer.record(STATE, &uints(&[(1, 1), (2, 7), (3, self.index)])),
            }
        }
        self.writer.record(STATE, &uints(&[(1, 1), (2, 7), (3, self.index)]));
        self.end()
    }

    fn any(&mut self, input: &Input<'_>) -> Files {
        self.begin(RAFT_ID);
        for record in &input.records {
            match record {
                Record::Entry { skip, kind, fernet, content } => {
                    self.index = self.index.wrapping_add(1).wrapping_add((*skip as i8) as u64);
                    let sealed = match content {
                        Content::Unsealed(plain) => bytes_field(2, plain),
                        content => self.sealed(*fernet, &plain(content)),
                    };
                    self.entry(self.index, (*kind).into(), &sealed);
                }
                Record::State { term, vote, commit } => {
                    let [term, vote, commit] = [*term, *vote, *commit].map(u64::from);
                    self.writer.record(STATE, &uints(&[(1, term), (2, vote), (3, commit)]));
                }
                Record::Snapshot { index, term } => {
                    let point = uints(&[(1, (*index).into()), (2, (*term).into())]);
                    self.writer.record(SNAPSHOT, &point);
                }
                Record::Metadata { raft_id } => {
                    self.writer.record(METADATA, &uints(&[(1, (*raft_id).into())]));
                }
                Record::NextSegment => self.next_segment(),
                Record::Other { kind, data } => self.writer.record((*kind).into(), data),
            }
        }
        if let Some(snapshot) = &input.snapshot {
            let (term, index) = (snapshot.term.into(), snapshot.index.into());
            let mut tables = Vec::new();
            for (id, payload) in &snapshot.secrets {
                put_bytes(&mut tables, 6, &secret(*id, payload));
            }
            let store = bytes_field(3, &tables);
            let sealed = boxed_record(&DEK, &[4; 24], &store);
            let file = snapshot_file(&raft_snapshot(term, index, &[RAFT_ID], &sealed));
            self.files.push((snapshot_path(term, index), file));
        }
        self.end()
    }

    fn begin(&mut self, raft_id: u64) {
        self.writer.record(CRC, b"");
        let member = [uints(&[(1, raft_id)]), bytes_field(2, b"node")].concat();
        self.writer.record(METADATA, &member);
    }

    fn next_segment(&mut self) {
        let sequence = self.first;
        self.first += 1;
        let first_index = if sequence == 0 { 0 } else { self.index.wrapping_add(sequence) };
        let segment = self.writer.end();
        self.files.push((segment_path(sequence, first_index), segment));
        self.begin(RAFT_ID);
    }

    fn end(&mut self) -> Files {
        let mut segment = self.writer.end();
        segment.resize(segment.len() + TAIL, 0);
        let first_index = if self.first == 0 { 0 } else { self.index.wrapping_add(self.first) };
        self.files.push((segment_path(self.first, first_index), segment));
        std::mem::take(&mut self.files)
    }

    fn entry(&mut self, index: u64, kind: u64, sealed: &[u8]) {
        let mut entry = uints(&[(1, kind), (2, 1), (3, index)]);
        put_bytes(&mut entry, 4, sealed);
        self.writer.record(ENTRY, &entry);
    }

    /// Sealed under a nonce of its entry's: two records with the same content are a finding.
    fn sealed(&self, fernet: bool, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [2; 24];
        nonce[..8].copy_from_slice(&self.index.to_le_bytes());
        match nonce.first_chunk::<16>() {
            Some(iv) if fernet => fernet_record(&DEK, iv, plain),
            _ => boxed_record(&DEK, &nonce, plain),
        }
    }
}

fn name(id: u8) -> String {
    format!("secret-{id}")
}

fn secret(id: u8, payload: &[u8]) -> Vec<u8> {
    [bytes_field(1, name(id).as_bytes()), bytes_field(3, &bytes_field(2, payload))].concat()
}

fn request(action: u64, id: u8, payload: &[u8]) -> Vec<u8> {
    bytes_field(2, &[uints(&[(1, action)]), bytes_field(7, &secret(id, payload))].concat())
}

fn plain(content: &Content<'_>) -> Vec<u8> {
    match content {
        Content::Secret { id, payload } => request(1, *id, payload),
        Content::Remove { id } => request(3, *id, b""),
        Content::Member { raft_id, removed } => {
            let mut change = uints(&[(2, u64::from(*removed))]);
            put_uint(&mut change, 3, (*raft_id).into());
            change
        }
        Content::Raw(plain) | Content::Unsealed(plain) => plain.to_vec(),
        Content::Empty => Vec::new(),
    }
}

impl Damage {
    fn done(&self, mut files: Files) -> Files {
        let (Self::Flip { file, .. }
        | Self::Zero { file, .. }
        | Self::Fill { file, .. }
        | Self::Cut { file, .. }
        | Self::Missing { file }) = self;
        let number = usize::from(*file) % files.len();
        let (_, bytes) = &mut files[number];
        let end = bytes.len();
        if end == 0 {
            return files;
        }
        let fill = |bytes: &mut Vec<u8>, at: u16, len: u8, with: u8| {
            let at = usize::from(at) % end;
            bytes[at..end.min(at + usize::from(len))].fill(with);
        };
        match self {
            Self::Flip { at, bit, .. } => bytes[usize::from(*at) % end] ^= 1 << (bit % 8),
            Self::Zero { at, len, .. } => fill(bytes, *at, *len, 0),
            Self::Fill { at, with, len, .. } => fill(bytes, *at, *len, *with),
            Self::Cut { len, .. } => bytes.truncate(usize::from(*len) % end),
            Self::Missing { .. } => drop(files.remove(number)),
        }
        files
    }

    const fn is_flip(&self) -> bool {
        matches!(self, Self::Flip { .. })
    }
}
