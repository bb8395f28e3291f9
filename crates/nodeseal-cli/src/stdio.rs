//! Standard input and output without a buffer in between that would keep a copy of a secret.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nodeseal::secret::SecretBytes;
use nodeseal::{Error, KeyTextFault, UnlockKey};

use crate::fail::{Failure, Result};

/// Longest unlock key file, in bytes. A key has 52.
const MAX_KEY_FILE: usize = 1024;

/// Reads an unlock key from a file, or from standard input for `-`. White space around it is
/// passed over, as Docker's command does.
pub(crate) fn unlock_key(path: &Path) -> Result<UnlockKey> {
    let mut bytes = SecretBytes::new();
    bytes.resize(MAX_KEY_FILE + 1);
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
    if len > MAX_KEY_FILE {
        return Err(Error::KeyText(KeyTextFault::Length).into());
    }
    bytes.resize(len);
    let text =
        core::str::from_utf8(bytes.expose()).map_err(|_| Error::KeyText(KeyTextFault::Alphabet))?;
    Ok(UnlockKey::from_text(text.trim())?)
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

/// Writes a new file (0600), durably. One that could not be written whole is removed.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(path).map_err(Failure::io(path))?;
    let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(folder.unwrap_or(Path::new(".")))?.sync_all())
        .map_err(|error| {
            // What is there is not what was asked for.
            let _ = fs::remove_file(path);
            Failure::Io(path.to_owned(), error)
        })
}

/// Writes public facts as JSON to standard output.
pub(crate) fn write_json(value: &impl serde::Serialize) -> Result<()> {
    let path = Path::new("standard output");
    let mut text =
        serde_json::to_string_pretty(value).map_err(|e| Failure::Io(path.into(), e.into()))?;
    text.push('\n');
    write_out(text.as_bytes())
}
