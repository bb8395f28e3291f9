//! The command `nodeseal`.
//!
//! Exit codes: 0; 2 for wrong usage; 3 for a wrong or missing key; 4 for damage; 1 otherwise.
//! Results go to standard output, everything else to standard error. Keys come from files or
//! standard input, never from an argument or the environment.

mod args;
mod fail;
mod keys;
mod stdio;
mod swarm;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Swarm(command) => swarm::run(command),
        Command::Keys(command) => keys::run(&command),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("nodeseal: {failure}");
            failure.code()
        }
    }
}
