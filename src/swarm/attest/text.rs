//! The text of an attestation.

use core::fmt::Write as _;

use super::tags::{Tag, TagKey};
use super::{Attestation, Body, DIGEST, RecordDigest, RecordKind, SegmentDigest};
use crate::error::{Error, Result};
use crate::key::valid_name;

const HEAD: &str = "nodeseal-swarm-attestation 1\n";
/// The longest text that is read, in bytes: some 700,000 records.
const LIMIT: usize = 64 << 20;

impl Attestation {
    /// Reads the text. Whether it is authentic, [`verify`](super::verify) says.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a later version; [`Error::Damaged`] if it is no attestation, or
    /// not exactly as it was written.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.len() > LIMIT {
            return Err(Error::damaged("larger than any attestation"));
        }
        let no_text = |_| Error::damaged("an attestation that is no text");
        let text = core::str::from_utf8(text).map_err(no_text)?;
        let Some(rest) = text.strip_prefix(HEAD) else {
            let later = text.strip_prefix("nodeseal-swarm-attestation ");
            return Err(match later.and_then(|rest| rest.split('\n').next()) {
                Some(version) if version.len() <= 20 => {
                    Error::unsupported("version of an attestation", version)
                }
                _ => Error::damaged("not an attestation"),
            });
        };
        let mut parsed = Self { body: Body::default(), tags: Vec::new() };
        for line in rest.lines() {
            let fields: Vec<&str> = line.split(' ').take(6).collect();
            parsed.line(&fields).ok_or(Error::damaged("a line that no attestation has"))?;
        }
        valid_name("node", &parsed.body.node)
            .map_err(|_| Error::damaged("an attestation without a node"))?;
        if parsed.to_text() == text {
            Ok(parsed)
        } else {
            Err(Error::damaged("an attestation that is not as it was written"))
        }
    }

    /// The text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.body.to_text();
        for Tag { of, id, tag } in &self.tags {
            line(&mut text, format_args!("tag {} {} {}", of.name(), hex(id), hex(tag)));
        }
        text
    }

    /// Takes one line over; that it stands in its place is seen when all is written again.
    fn line(&mut self, fields: &[&str]) -> Option<()> {
        let body = &mut self.body;
        match fields {
            ["node", node] => body.node = (*node).to_owned(),
            ["key-file", locked, version, rotate] => {
                body.locked = *locked == "locked";
                body.kek_version = if *version == "-" { None } else { Some(number(version)?) };
                body.needs_rotation = *rotate == "rotate";
            }
            ["segment", name] => {
                body.segments.push(SegmentDigest { name: (*name).to_owned(), records: Vec::new() })
            }
            ["snapshot", name, digest] => {
                body.snapshots.push(((*name).to_owned(), bytes(digest)?));
            }
            ["tag", of, id, tag] => {
                let of = [TagKey::Dek, TagKey::Unlock].into_iter().find(|key| key.name() == *of)?;
                self.tags.push(Tag { of, id: bytes(id)?, tag: bytes(tag)? });
            }
            _ => {
                let record = record(fields)?;
                body.segments.last_mut()?.records.push(record);
            }
        }
        Some(())
    }
}

impl Body {
    /// All but the tags.
    pub(super) fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        line(&mut text, format_args!("node {}", self.node));
        let locked = if self.locked { "locked" } else { "clear" };
        let rotate = if self.needs_rotation { "rotate" } else { "settled" };
        let version =
            self.kek_version.map_or_else(|| "-".to_owned(), |version| version.to_string());
        line(&mut text, format_args!("key-file {locked} {version} {rotate}"));
        for segment in &self.segments {
            line(&mut text, format_args!("segment {}", segment.name));
            for RecordDigest { kind, digest } in &segment.records {
                let digest = hex(digest);
                match kind {
                    RecordKind::Entry { index, term, kind } => {
                        line(&mut text, format_args!("entry {index} {term} {kind} {digest}"));
                    }
                    RecordKind::Metadata => line(&mut text, format_args!("metadata {digest}")),
                    RecordKind::State => line(&mut text, format_args!("state {digest}")),
                    RecordKind::SnapshotPoint => {
                        line(&mut text, format_args!("snapshot-point {digest}"));
                    }
                }
            }
        }
        for (name, digest) in &self.snapshots {
            line(&mut text, format_args!("snapshot {name} {}", hex(digest)));
        }
        text
    }
}

fn record(fields: &[&str]) -> Option<RecordDigest> {
    let (kind, digest) = match fields {
        ["entry", index, term, kind, digest] => {
            let (index, term, kind) = (number(index)?, number(term)?, number(kind)?);
            (RecordKind::Entry { index, term, kind }, digest)
        }
        ["metadata", digest] => (RecordKind::Metadata, digest),
        ["state", digest] => (RecordKind::State, digest),
        ["snapshot-point", digest] => (RecordKind::SnapshotPoint, digest),
        _ => return None,
    };
    Some(RecordDigest { kind, digest: bytes::<DIGEST>(digest)? })
}

fn line(text: &mut String, fields: core::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{fields}");
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(out)
}
