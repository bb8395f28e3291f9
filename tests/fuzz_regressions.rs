//! What fuzzing found, each input with its fault.
#![allow(clippy::unwrap_used, reason = "the helpers belong to the tests")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use nodeseal::fs::SimFs;
use nodeseal::keyring::Location;
use nodeseal::{Error, Keyring};
use sha2::{Digest, Sha256};

fn inspect_error(lines: &str) -> Error {
    let mut file = lines.to_owned() + "check ";
    Sha256::digest(lines).iter().for_each(|byte| write!(file, "{byte:02x}").unwrap());
    file.push('\n');
    let disk = SimFs::new();
    disk.write_file(Path::new("/keys/node.keys"), file.as_bytes()).unwrap();
    Keyring::inspect(Location::on(Arc::new(disk), "/keys")).unwrap_err()
}

/// Whatever stood behind the first word, up to 4 MiB and with control characters, stood in the
/// error.
#[test]
fn an_error_does_not_repeat_a_key_file() {
    let error = inspect_error(&format!("nodeseal-keys {}\n", "\u{1b}[2J".repeat(1000)));
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
    let error = inspect_error("nodeseal-keys 2\nanything else\n");
    assert!(matches!(error, Error::Unsupported { ref found, .. } if found == "2"), "{error:?}");
}
