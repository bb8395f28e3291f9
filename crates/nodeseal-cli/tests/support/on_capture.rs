//! Runs the command on a capture's folder.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::process::Output;

use crate::capture::Capture;
use crate::support::run;

pub(crate) fn key_text(capture: &Capture) -> String {
    capture.expected["unlock_key"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn state_dir(capture: &Capture) -> String {
    capture.dir().to_str().unwrap().to_owned()
}

/// `swarm WHAT… --state-dir DIR`, with the key on standard input where the folder is locked.
pub(crate) fn swarm(capture: &Capture, what: &[&str]) -> Output {
    let (dir, key) = (state_dir(capture), key_text(capture));
    let mut args = ["swarm"].to_vec();
    args.extend(what);
    args.extend(["--state-dir", &dir]);
    if !key.is_empty() {
        args.extend(["--unlock-key-file", "-"]);
    }
    run(&args, format!("{key}\n").as_bytes())
}
