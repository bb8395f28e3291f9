//! The files of a folder beside key file, log and snapshots.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::{self, Fs};
use crate::swarm::certificate::{self, MAX_CERTIFICATE};
use crate::swarm::folder::{Folder, names};
use crate::swarm::key_file::NodeKeys;
use crate::swarm::new_folder::NewFolder;

/// The other files of the folder.
#[derive(Debug)]
pub(super) struct Files {
    /// Which are as they were, by their names in the folder.
    copied: Vec<PathBuf>,
    /// Those that may stand under another name, with their content.
    certificates: Vec<(&'static str, Vec<u8>)>,
}

impl Files {
    /// Finds them; also whether the certificates are what dockerd needs.
    pub(super) fn find(
        fs: &dyn Fs,
        dir: &Path,
        folder: &Folder,
        keys: &NodeKeys,
        notes: &mut Vec<String>,
    ) -> Result<(Self, bool)> {
        let mut copied = Vec::new();
        for part in ["", "worker"] {
            let names = names(fs, &dir.join(part))?.unwrap_or_default();
            copied.extend(names.into_iter().map(|name| Path::new(part).join(name)));
        }
        copied.sort();
        let mut startable = true;
        let mut lacks = |text: &str| {
            startable = false;
            notes.push(format!("{text}: dockerd does not start from the new folder without it"));
        };
        let mut certificates = Vec::new();
        match certificate::of_key(fs, folder, Some(&keys.tls_key))? {
            Some(held) => certificates.push(("certificates/swarm-node.crt", held.text)),
            None => lacks("there is no certificate of the node's key"),
        }
        match fs::read(fs, &folder.root_certificate(), MAX_CERTIFICATE) {
            Ok(text) => certificates.push(("certificates/swarm-root-ca.crt", text)),
            Err(Error::Missing(_)) => lacks("the CA's certificate is missing"),
            Err(error) => return Err(error),
        }
        Ok((Self { copied, certificates }, startable))
    }

    pub(super) fn write(&self, dir: &Path, new: &NewFolder<'_>) -> Result<()> {
        for name in &self.copied {
            new.copy(name, &dir.join(name))?;
        }
        for (name, text) in &self.certificates {
            new.file(name, text)?;
        }
        Ok(())
    }
}
