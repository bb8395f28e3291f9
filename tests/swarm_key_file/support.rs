//! Key files from `tests/data/swarm-keys`, and how to take them apart and alter them.

use base64ct::{Base64, Encoding};
use nodeseal::UnlockKey;
use nodeseal::swarm::NodeKeys;
use sha2::{Digest, Sha256};

pub(crate) struct Case {
    pub(crate) text: Vec<u8>,
    pub(crate) key: Option<UnlockKey>,
    sums: String,
}

impl Case {
    pub(crate) fn genuine(name: &str) -> Self {
        Self::read(name, "swarm-node.key")
    }

    pub(crate) fn made(name: &str) -> Self {
        Self::read("made", &format!("{name}.key"))
    }

    fn read(folder: &str, file: &str) -> Self {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/swarm-keys")
            .join(folder);
        let key = std::fs::read_to_string(folder.join("unlock-key")).ok();
        Self {
            text: std::fs::read(folder.join(file)).unwrap(),
            key: key.map(|text| UnlockKey::from_text(text.trim_end()).unwrap()),
            sums: std::fs::read_to_string(folder.join("sha256")).unwrap(),
        }
    }

    pub(crate) fn sha256(&self, what: &str) -> &str {
        self.sums.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(' ')).unwrap()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key file's text, in parts that can be changed.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) label: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Parts {
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut lines = str::from_utf8(text).unwrap().lines().peekable();
        let label = lines.next().unwrap()["-----BEGIN ".len()..].trim_end_matches('-').to_owned();
        let mut headers = Vec::new();
        while let Some((name, value)) = lines.peek().unwrap().split_once(": ") {
            headers.push((name.to_owned(), value.to_owned()));
            lines.next();
        }
        let body: String = lines.filter(|line| !line.starts_with('-')).collect();
        Self { label, headers, body: unbase64(&body) }
    }

    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = format!("-----BEGIN {}-----\n", self.label);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\n");
        }
        text += "\n";
        for line in base64(&self.body).as_bytes().chunks(64) {
            text += str::from_utf8(line).unwrap();
            text += "\n";
        }
        (text + &format!("-----END {}-----\n", self.label)).into_bytes()
    }

    pub(crate) fn record(&self, name: &str) -> Vec<u8> {
        unbase64(&self.headers.iter().find(|(found, _)| found == name).unwrap().1)
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self
    }

    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        let mut parts = self.without(name);
        parts.headers.push((name.to_owned(), value.to_owned()));
        parts
    }

    pub(crate) fn with_record(self, name: &str, record: &[u8]) -> Self {
        self.with(name, &base64(record))
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut buffer = vec![0; bytes.len() * 2 + 4];
    Base64::encode(bytes, &mut buffer).unwrap().to_owned()
}

fn unbase64(text: &str) -> Vec<u8> {
    let mut buffer = vec![0; text.len()];
    Base64::decode(text, &mut buffer).unwrap().to_vec()
}

/// A record with `plaintext`, sealed with secretbox.
pub(crate) fn sealed(key: &UnlockKey, plaintext: &[u8]) -> Vec<u8> {
    let mut data = plaintext.to_vec();
    let tag = nodeseal::hazmat::secretbox_seal(key.secret(), &[7; 24], &mut data);
    let len = u8::try_from(data.len() + 16).unwrap();
    [&[8, 1, 0x12, len][..], &tag, &data, &[0x1a, 24], &[7; 24]].concat()
}

/// Every text that differs from `bytes` in one bit.
pub(crate) fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        (bit, flipped)
    })
}

pub(crate) fn same_deks(one: &NodeKeys, other: &NodeKeys) -> bool {
    let same = |a: &Option<nodeseal::secret::SecretKey>, b: &Option<_>| match (a, b) {
        (Some(a), Some(b)) => a.ct_eq(b),
        (a, b) => a.is_none() && b.is_none(),
    };
    same(&one.current, &other.current) && same(&one.pending, &other.pending)
}
