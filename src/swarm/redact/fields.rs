//! Which fields of Swarm's objects stay in a redacted copy.
//!
//! What is not named here and could hold bytes goes, so that a field that a later Swarm adds does
//! not slip through. Integers stay.

use crate::error::Result;
use crate::secret::SecretBytes;
use crate::wal::encode::{Message, value_len};
use crate::wal::proto::{Fields, Value};

/// What becomes of a field that holds bytes.
pub(super) enum Rule {
    /// It stays as it is.
    Keep,
    /// Its bytes are replaced by as many others.
    Blank,
    /// It is a message, of which only these fields stay.
    In(&'static [(u64, Rule)]),
}

use Rule::{Blank, In, Keep};

pub(super) type Schema = &'static [(u64, Rule)];

/// What blanked bytes are: a key of them still has its length, and is no text.
const FILLER: u8 = 0;

/// `InternalRaftRequest`.
pub(super) const REQUEST: Schema = &[(2, In(ACTION))];

const ACTION: Schema = &[
    (2, In(NODE)),
    (3, In(SERVICE)),
    (4, In(TASK)),
    (5, In(OTHER)),
    (6, In(CLUSTER)),
    (7, In(SECRET)),
    (8, In(RESOURCE)),
    (9, In(RESOURCE)),
    (10, In(CONFIG)),
    (11, In(OTHER)),
];

/// `Snapshot`: membership and store.
pub(super) const SNAPSHOT: Schema = &[(2, Keep), (3, In(STORE))];

const STORE: Schema = &[
    (1, In(NODE)),
    (2, In(SERVICE)),
    (3, In(OTHER)),
    (4, In(TASK)),
    (5, In(CLUSTER)),
    (6, In(SECRET)),
    (7, In(RESOURCE)),
    (8, In(RESOURCE)),
    (9, In(CONFIG)),
    (10, In(OTHER)),
];

/// `ConfChange`: a member of the raft group.
pub(super) const MEMBERSHIP: Schema = &[(4, Keep)];

/// Networks and volumes: id, version and times, name and labels.
const OTHER: Schema = &[(1, Keep), (2, Keep), (3, In(ANNOTATED))];
/// A spec of which only name and labels stay.
const ANNOTATED: Schema = &[(1, Keep)];
/// Their name and labels stand outside a spec.
const RESOURCE: Schema = &[(1, Keep), (2, Keep), (3, Keep)];

const NODE: Schema = &[(1, Keep), (2, Keep), (3, In(ANNOTATED)), (4, In(DESCRIPTION))];
/// Host name and platform.
const DESCRIPTION: Schema = &[(1, Keep), (2, Keep)];

const SECRET: Schema = &[(1, Keep), (2, Keep), (3, In(PAYLOAD_SPEC))];
const CONFIG: Schema = SECRET;
/// Name and labels, payload, the names of drivers without their options.
const PAYLOAD_SPEC: Schema = &[(1, Keep), (2, Blank), (3, In(DRIVER)), (4, In(DRIVER))];
const DRIVER: Schema = &[(1, Keep)];

const SERVICE: Schema =
    &[(1, Keep), (2, Keep), (3, In(SERVICE_SPEC)), (6, In(SERVICE_SPEC)), (10, Keep), (11, Keep)];
/// Name and labels, task, how many.
const SERVICE_SPEC: Schema = &[(1, Keep), (2, In(TASK_SPEC)), (3, Keep), (4, Keep)];
const TASK_SPEC: Schema = &[(1, In(CONTAINER)), (11, Keep)];
/// Image, user, references to secrets and configs. Not the environment, commands, labels, mounts.
const CONTAINER: Schema = &[(1, Keep), (7, Keep), (12, Keep), (21, Keep)];

const TASK: Schema = &[
    (1, Keep),
    (2, Keep),
    (3, In(TASK_SPEC)),
    (4, Keep),
    (6, Keep),
    (7, Keep),
    (8, Keep),
    (9, In(STATUS)),
    (14, Keep),
];
/// When, and which state; what a container's runtime said may be anything.
const STATUS: Schema = &[(1, Keep)];

const CLUSTER: Schema = &[
    (1, Keep),
    (2, Keep),
    (3, In(CLUSTER_SPEC)),
    (4, In(ROOT_CA)),
    (5, In(ENCRYPTION_KEY)),
    (9, In(ENCRYPTION_KEY)),
    (11, Keep),
];
/// Name and labels, raft, dispatcher, encryption.
const CLUSTER_SPEC: Schema = &[(1, Keep), (4, Keep), (5, Keep), (8, Keep)];
/// The key, certificate, its hash, the join tokens.
const ROOT_CA: Schema = &[(1, Blank), (2, Keep), (3, Keep), (4, In(TOKENS))];
const TOKENS: Schema = &[(1, Blank), (2, Blank)];
const ENCRYPTION_KEY: Schema = &[(1, Keep), (3, Blank)];

/// A message without what must not be seen.
///
/// # Errors
///
/// [`Error::Damaged`](crate::Error::Damaged) if it is none.
pub(super) fn redacted(message: &[u8], schema: Schema) -> Result<SecretBytes> {
    let mut out = Message::with_capacity(len(message, schema)?);
    write(message, schema, &mut out)?;
    Ok(out.into_secret())
}

/// What becomes of a field's bytes; `None`: they go.
fn rule(schema: Schema, number: u64) -> Option<&'static Rule> {
    schema.iter().find(|(known, _)| *known == number).map(|(_, rule)| rule)
}

/// Length of what is left: it stands before it, and a second copy of a whole store is not made to
/// find it out.
fn len(message: &[u8], schema: Schema) -> Result<usize> {
    let mut sum = 0;
    for field in Fields::of(message) {
        let (number, value) = field?;
        let bytes = match value {
            Value::Bytes(bytes) => match rule(schema, number) {
                Some(Keep | Blank) => bytes.len(),
                Some(In(schema)) => len(bytes, schema)?,
                None => continue,
            },
            _ => 0,
        };
        sum += value_len(number, value, bytes);
    }
    Ok(sum)
}

fn write(message: &[u8], schema: Schema, out: &mut Message) -> Result<()> {
    for field in Fields::of(message) {
        let (number, value) = field?;
        let Value::Bytes(bytes) = value else {
            out.value(number, value);
            continue;
        };
        match rule(schema, number) {
            Some(Keep) => out.value(number, value),
            Some(Blank) => {
                out.value_head(number, bytes.len());
                out.fill(FILLER, bytes.len());
            }
            Some(In(schema)) => {
                out.value_head(number, len(bytes, schema)?);
                write(bytes, schema, out)?;
            }
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    #[test]
    fn what_is_not_named_goes_and_what_is_blanked_keeps_its_length() {
        let spec = [field(1, b"name"), field(2, b"payload"), field(9, b"unknown")].concat();
        let secret = [field(1, b"id"), field(3, &spec), vec![4 << 3, 1], field(12, b"x")].concat();
        let request = field(2, &[vec![8, 1], field(7, &secret)].concat());
        let spec = [field(1, b"name"), field(2, &[0; 7])].concat();
        let secret = [field(1, b"id"), field(3, &spec), vec![4 << 3, 1]].concat();
        let expected = field(2, &[vec![8, 1], field(7, &secret)].concat());
        assert_eq!(redacted(&request, REQUEST).unwrap().expose(), expected);
        assert!(redacted(b"\x0a\x05", REQUEST).is_err());
        // An object of a kind that is not known.
        let other = field(2, &field(15, b"anything"));
        assert_eq!(redacted(&other, REQUEST).unwrap().expose(), field(2, b""));
    }
}
