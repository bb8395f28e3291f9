//! The command `nodeseal`.
//!
//! Exit codes: 0; 2 for wrong usage; 3 for a wrong or missing key; 4 for damage; 1 otherwise.
//! Results go to standard output, everything else to standard error. Keys come from files or
//! standard input, never from an argument or the environment.

mod args;
mod cluster;
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
        Command::Init(command) => cluster::init(&command),
        Command::Secret(command) => cluster::secret(command),
        Command::Service(command) => cluster::service(command),
        Command::Node(command) => cluster::node(command),
        Command::Task(command) => cluster::task(command),
        Command::Deliver(command) => cluster::deliver(&command),
        Command::Audit(command) => cluster::audit(&command),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("nodeseal: {failure}");
            failure.code()
        }
    }
}
