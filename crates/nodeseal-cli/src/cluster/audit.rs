use std::process::ExitCode;

use super::args::Data;
use super::print_line;
use super::session::Session;
use crate::fail::Result;

/// The session has checked every line when it was opened.
pub(super) fn verify(session: &Session) -> Result<ExitCode> {
    let lines = session.audit().anchor().lines();
    print_line(&format!("{lines} lines, whole and in their order"))
}

pub(super) fn restart(data: &Data) -> Result<ExitCode> {
    let (session, aside) = Session::restart_audit(data)?;
    session.close()?;
    eprintln!("nodeseal: a new audit file was begun; the one before is now {}", aside.display());
    Ok(ExitCode::SUCCESS)
}
