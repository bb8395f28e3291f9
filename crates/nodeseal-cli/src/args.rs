use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Looks into a Docker Swarm manager's sealed state and into nodeseal's key files.
///
/// Exit codes: 0; 2 for wrong usage; 3 for a wrong or missing key; 4 for damage; 1 otherwise.
#[derive(Parser)]
#[command(name = "nodeseal", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The state of a Docker Swarm manager.
    #[command(subcommand)]
    Swarm(Swarm),
    /// nodeseal's own key files.
    #[command(subcommand)]
    Keys(Keys),
}

#[derive(Subcommand)]
pub(crate) enum Swarm {
    /// Lock state, segments, snapshots, entries, findings; without a key, what can be known so.
    Inspect {
        #[command(flatten)]
        state: State,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// The secrets, without their payloads.
    Secrets {
        #[command(flatten)]
        state: State,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// One secret's payload, as it is, on standard output.
    Secret {
        /// Its name.
        name: String,
        #[command(flatten)]
        state: State,
        /// Says that the payload is really wanted.
        #[arg(long, required = true)]
        reveal: bool,
    },
    /// A verdict on every file and every record; without a key, what can be known so.
    Doctor {
        #[command(flatten)]
        state: State,
        /// All records, not only those with which something is wrong.
        #[arg(long)]
        records: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Removes what crashes, repairs and upgrades left behind. The daemon must be stopped.
    #[command(group = clap::ArgGroup::new("do").required(true).args(["dry_run", "remove"]))]
    Clean {
        #[command(flatten)]
        state: State,
        /// Only shows what would be removed, and what not, and why.
        #[arg(long)]
        dry_run: bool,
        /// Overwrites and removes it. Overwriting is a best effort: see SECURITY.md.
        #[arg(long)]
        remove: bool,
    },
    /// Writes down, under the folder's keys, what a stopped manager's folder holds.
    Attest {
        #[command(flatten)]
        state: State,
        /// The file to write, which must not exist. Keep it elsewhere than the folder.
        #[arg(long, value_name = "FILE")]
        attestation: PathBuf,
    },
    /// Compares a stopped manager's folder with an attestation.
    Verify {
        #[command(flatten)]
        state: State,
        /// The file that `attest` wrote.
        #[arg(long, value_name = "FILE")]
        attestation: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct State {
    /// The folder that holds `certificates` and `raft`, for Docker `/var/lib/docker/swarm`.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: PathBuf,
    /// The file that holds the unlock key (SWMKEY-1-…), `-` for standard input.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) unlock_key_file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// What a key file tells without any key.
    Inspect {
        /// The key file.
        file: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}
