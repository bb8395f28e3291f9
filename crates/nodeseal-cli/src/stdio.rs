//! Standard input and output without a buffer in between that would keep a copy of a secret.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nodeseal::cluster::MAX_PAYLOAD;
use nodeseal::secret::SecretBytes;
use nodeseal::{Error, KeyTextFault, UnlockKey};

use crate::fail::{Failure, Result};

/// Longest unlock key file, in bytes. A key has 52.
const MAX_KEY_FILE: usize = 1024;

/// Reads an unlock key from a file, or from standard input for `-`. White space around it is
/// passed over, as Docker's command does.
pub(crate) fn unlock_key(path: &Path) -> Result<UnlockKey> {
    let bytes = read(path, MAX_KEY_FILE)?;
    if bytes.len() > MAX_KEY_FILE {
        return Err(Error::KeyText(KeyTextFault::Length).into());
    }
    let text =
        core::str::from_utf8(bytes.expose()).map_err(|_| Error::KeyText(KeyTextFault::Alphabet))?;
    Ok(UnlockKey::from_text(text.trim())?)
}

/// Reads a secret's payload from a file, or from standard input for `-`, as it is. Of one that is too
/// long, one byte too many is read.
pub(crate) fn payload(path: &Path) -> Result<SecretBytes> {
    read(path, MAX_PAYLOAD)
}

/// Reads at most `limit` bytes and one more.
fn read(path: &Path, limit: usize) -> Result<SecretBytes> {
    let mut bytes = SecretBytes::new();
    bytes.resize(limit + 1);
    let mut file = open(path).map_err(Failure::io(path))?;
    let mut len = 0;
    while let Some(rest) = bytes.expose_mut().get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::Io(path.to_owned(), error)),
        }
    }
    bytes.resize(len);
    Ok(bytes)
}

/// Writes an unlock key into a file that must not exist (0600), durably.
pub(crate) fn write_new_key(path: &Path, key: &UnlockKey) -> Result<()> {
    write_new(path, &[key.to_text().as_bytes(), b"\n"])
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Writes an unlock key to standard output.
pub(crate) fn write_key(key: &UnlockKey) -> Result<()> {
    write_out(key.to_text().as_bytes())?;
    write_out(b"\n")
}

fn open(path: &Path) -> io::Result<File> {
    if path == Path::new("-") {
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    } else {
        File::open(path)
    }
}

/// Writes to standard output.
pub(crate) fn write_out(bytes: &[u8]) -> Result<()> {
    let path = Path::new("standard output");
    let mut out =
        io::stdout().as_fd().try_clone_to_owned().map(File::from).map_err(Failure::io(path))?;
    out.write_all(bytes).map_err(Failure::io(path))
}

/// Writes a file that must not exist (0600), durably. One that could not be written whole is
/// removed.
pub(crate) fn write_new(path: &Path, parts: &[&[u8]]) -> Result<()> {
    let mut options = File::options();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(path).map_err(Failure::io(path))?;
    let written = parts
        .iter()
        .try_for_each(|part| file.write_all(part))
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(folder(path))?.sync_all());
    written.map_err(|error| {
        // What is there is not what was asked for.
        let _ = fs::remove_file(path);
        Failure::Io(path.to_owned(), error)
    })
}

/// Writes public facts as JSON to standard output.
pub(crate) fn write_json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(not_json)?;
    text.push(b'\n');
    write_out(&text)
}

/// As [`write_json`], indented as Docker's command does it.
pub(crate) fn write_json_as_docker(value: &impl serde::Serialize) -> Result<()> {
    let mut text = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut text, form))
        .map_err(not_json)?;
    text.push(b'\n');
    write_out(&text)
}

pub(crate) fn not_json(error: serde_json::Error) -> Failure {
    Failure::Io(Path::new("standard output").to_owned(), error.into())
}
