//! Looks for what must not be on a disk, byte by byte, whatever the files are.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::path::{Path, PathBuf};

use base64ct::{Base64, Base64Unpadded, Encoding};
use nodeseal::hazmat;
use nodeseal::secret::SecretKey;

/// All files below a folder, with their content.
pub(crate) fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            let mut bytes = std::fs::read(&path).unwrap();
            // A segment is nearly all zeros.
            while bytes.ends_with(&[0; 4096]) {
                bytes.truncate(bytes.len() - 4096);
            }
            found.push((path, bytes));
        }
    }
    found
}

/// In which files anything opens with `key`: every record that begins anywhere is tried, also in the
/// base64 of a key file's headers.
pub(crate) fn opened_by(dir: &Path, key: &SecretKey) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (path, bytes) in files(dir) {
        let headers = bytes.split(|byte| *byte == b'\n').filter_map(|line| {
            let value = line.split(|byte| *byte == b' ').nth(1)?;
            Base64::decode_vec(core::str::from_utf8(value).ok()?).ok()
        });
        let mut all = vec![bytes.clone()];
        if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".key")) {
            all.extend(headers);
        }
        if all.iter().any(|bytes| any_record(bytes, key)) {
            found.push(path);
        }
    }
    found
}

fn any_record(bytes: &[u8], key: &SecretKey) -> bool {
    let starts = bytes.windows(3).enumerate().filter(|(_, window)| *window == [8, 1, 0x12]);
    starts.into_iter().any(|(at, _)| opens(&bytes[at + 3..], key).is_some())
}

/// Whether a record's length, tag, ciphertext and nonce stand here, and the key opens them.
fn opens(rest: &[u8], key: &SecretKey) -> Option<()> {
    let (mut len, mut at) = (0_usize, 0);
    loop {
        let byte = *rest.get(at)?;
        len |= usize::from(byte & 0x7f) << (7 * at);
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
        if at == 4 {
            return None;
        }
    }
    let boxed = rest.get(at..at.checked_add(len)?)?;
    let nonce = rest.get(at + len..)?.strip_prefix(&[0x1a, 0x18])?.first_chunk::<24>()?;
    let (tag, ciphertext) = boxed.split_first_chunk::<16>()?;
    let mut data = ciphertext.to_vec();
    hazmat::secretbox_open(key, nonce, tag, &mut data).ok()
}

/// In which files these bytes stand: as they are, in base64 or in hexadecimal.
pub(crate) fn holding(dir: &Path, secret: &[u8]) -> Vec<PathBuf> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let forms =
        [secret.to_vec(), Base64Unpadded::encode_string(secret).into_bytes(), hex.into_bytes()];
    let holds = |bytes: &[u8]| {
        forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
    };
    files(dir).into_iter().filter(|(_, bytes)| holds(bytes)).map(|(path, _)| path).collect()
}
