use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use nodeseal::swarm::{self, Attestation, Severity};

use super::progress::Work;
use crate::args::State;
use crate::fail::{DAMAGED, Failure, Result};
use crate::stdio;

/// Longest attestation that is read, in bytes.
const MAX: u64 = 64 << 20;

pub(crate) fn attest(state: &State, to: &Path) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    let work = Work::new(state);
    let attestation = swarm::attest_in(&**work.fs(), &state.state_dir, key.as_ref())?;
    work.end();
    stdio::write_new(to, &[attestation.to_text().as_bytes()])?;
    println!("attested {} records", attestation.records());
    if let Some(last) = attestation.last_index() {
        println!("up to entry {last}");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn verify(state: &State, from: &Path, json: bool) -> Result<ExitCode> {
    let mut text = Vec::new();
    let file = File::open(from).map_err(Failure::io(from))?;
    file.take(MAX + 1).read_to_end(&mut text).map_err(Failure::io(from))?;
    let attestation = Attestation::parse(&text)?;
    let key = super::unlock_key(state)?;
    let work = Work::new(state);
    let dir = &state.state_dir;
    let found = swarm::verify_in(&**work.fs(), dir, key.as_ref(), &attestation)?;
    work.end();
    if json {
        stdio::write_json(&found)?;
    } else {
        println!("{} of {} attested records stand", found.standing, found.attested);
        if let Some(last) = found.attested_to {
            println!("attested up to entry {last}");
        }
        if found.compacted > 0 {
            println!("{} went with segments that a snapshot covers", found.compacted);
        }
        println!("{} records came after them", found.added);
        for finding in found.findings.iter().filter(|one| one.severity < Severity::Error) {
            println!("{finding}");
        }
        for fault in found.faults() {
            println!("{fault}");
        }
    }
    if found.is_intact() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("nodeseal: the folder is NOT as it was attested");
    Ok(ExitCode::from(DAMAGED))
}
