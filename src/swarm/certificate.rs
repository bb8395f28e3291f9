//! The node's certificate, as far as it must fit key, log and cluster.
//!
//! No X.509 is read: a certificate holds the public key, the node's id and the cluster's id as they
//! are, and they are long and random enough to be looked for among its bytes.

use std::path::{Path, PathBuf};

use super::ec_key;
use super::finding::{FindingKind, Findings, at};
use super::folder::Folder;
use super::log::RaftMember;
use super::pem::Block;
use super::replay::Objects;
use crate::error::{Error, Result};
use crate::fs::{self, Fs};
use crate::secret::SecretBytes;

/// The longest certificate that is read, in bytes.
pub(crate) const MAX_CERTIFICATE: usize = 1 << 20;

/// Reports where the certificates are not there, or do not fit.
///
/// # Errors
///
/// What the system says.
pub(crate) fn check(
    fs: &dyn Fs,
    folder: &Folder,
    tls_key: Option<&SecretBytes>,
    member: Option<&RaftMember>,
    objects: &Objects,
    findings: &mut Findings,
) -> Result<()> {
    let held = of_key(fs, folder, tls_key)?;
    let mut report = |path: &Path, text: String| {
        findings.error(FindingKind::Certificate, at(path, None, None), text, None);
    };
    // Where none is of the key, Swarm complains of the one in its place.
    let (path, certificate) = match held {
        Some(Held { path, der, .. }) => (path, Ok(der)),
        None => (folder.certificate(), read(fs, &folder.certificate())?),
    };
    match certificate {
        Err(what) => report(&path, format!("{what}; Swarm needs it to start")),
        Ok(der) => {
            let point = tls_key.and_then(|key| ec_key::point(key.expose()));
            if point.is_some_and(|point| !contains(&der, point)) {
                report(&path, "the certificate is not of the key in the key file".to_owned());
            }
            let node = member.map(|member| member.node_id.as_str()).filter(|id| !id.is_empty());
            if let Some(node) = node.filter(|node| !contains(&der, node.as_bytes())) {
                report(&path, format!("the log is of node {node}, the certificate of another"));
            }
            for id in objects.clusters.keys().filter(|id| !contains(&der, id.as_bytes())) {
                report(&path, format!("the state is of cluster {id}, the certificate of another"));
            }
        }
    }
    let path = folder.root_certificate();
    if let Err(what) = read(fs, &path)? {
        report(&path, format!("{what}; Swarm needs it to start"));
    }
    Ok(())
}

/// A certificate, as it stands in a file.
pub(crate) struct Held {
    path: PathBuf,
    pub(crate) text: Vec<u8>,
    pub(crate) der: Vec<u8>,
}

/// The certificate of a TLS key: the node's, or the one beside it that a crash kept from taking its
/// place, where Swarm puts it at its start. Without the key, the first that is one.
///
/// # Errors
///
/// What the system says.
pub(crate) fn of_key(
    fs: &dyn Fs,
    folder: &Folder,
    tls_key: Option<&SecretBytes>,
) -> Result<Option<Held>> {
    let point = tls_key.and_then(|key| ec_key::point(key.expose()));
    for path in [folder.certificate(), folder.certificates.join(".swarm-node.crt")] {
        if let Ok(der) = read(fs, &path)?
            && point.is_none_or(|point| contains(&der, point))
        {
            let text = fs::read(fs, &path, MAX_CERTIFICATE)?;
            return Ok(Some(Held { path, text, der }));
        }
    }
    Ok(None)
}

/// The certificate's DER, or what is wrong with the file.
fn read(fs: &dyn Fs, path: &Path) -> Result<Result<Vec<u8>, &'static str>> {
    let text = match fs::read(fs, path, MAX_CERTIFICATE) {
        Ok(text) => text,
        Err(Error::Missing(_)) => return Ok(Err("the certificate is missing")),
        Err(Error::Damaged { .. }) => return Ok(Err("the file is too large for a certificate")),
        Err(error) => return Err(error),
    };
    Ok(match Block::parse(&text) {
        Ok(block) if block.label == b"CERTIFICATE" => Ok(block.body.expose().to_vec()),
        _ => Err("there is no certificate in the file"),
    })
}

/// Whether a certificate holds these bytes.
pub(crate) fn contains(der: &[u8], bytes: &[u8]) -> bool {
    der.windows(bytes.len().max(1)).any(|window| window == bytes)
}
