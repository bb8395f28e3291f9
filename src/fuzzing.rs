//! What the fuzz targets reach of what is private. Not part of the API.

use crate::error::{Place, Result};
use crate::secret::{SecretBytes, SecretKey};
use crate::swarm::{Finding, Findings, Objects, Record, Replay};

/// Opens a record of Swarm's.
///
/// # Errors
///
/// Those of the record.
pub fn swarm_record(message: &[u8], key: Option<&SecretKey>) -> Result<SecretBytes> {
    Record::parse(message)?.open(key)
}

/// The objects of a snapshot's content, changed by requests, and what was found.
#[must_use]
pub fn swarm_objects(snapshot: &[u8], requests: &[&[u8]]) -> (Objects, Vec<Finding>) {
    let (mut objects, mut findings) = (Objects::default(), Findings::default());
    objects.load(snapshot, &Place::default(), &mut findings);
    for request in requests {
        objects.apply(request, &Place::default(), &mut findings);
    }
    (objects, findings.finish())
}
