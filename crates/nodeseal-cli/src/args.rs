use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::cluster::args as cluster;

/// Keeps and delivers secrets; looks into a Docker Swarm manager's sealed state, changes it, and makes
/// others of it; looks into key files.
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
    /// Makes an embedded single-node store of secrets.
    Init(cluster::Init),
    /// Secrets in an embedded store.
    #[command(subcommand)]
    Secret(cluster::Secret),
    /// Services, whose tasks are granted secrets.
    #[command(subcommand)]
    Service(cluster::Service),
    /// Nodes, whose labels policies ask for.
    #[command(subcommand)]
    Node(cluster::Node),
    /// Tasks of services.
    #[command(subcommand)]
    Task(cluster::Task),
    /// Lays out what a node's tasks were granted, and takes away what they were not.
    Deliver(cluster::Deliver),
    /// The audit file of an embedded store.
    #[command(subcommand)]
    Audit(cluster::Audit),
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
    /// The secrets, without their payloads, but with the SHA-256 of each: it lets short ones be guessed.
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
    /// Saves all that still opens into a new folder, from which dockerd starts.
    ///
    /// Says what is lost, and ends with 4 if anything is.
    Salvage {
        #[command(flatten)]
        state: State,
        /// The new folder, which must not exist or be empty.
        #[arg(long, value_name = "NEW")]
        to: PathBuf,
        /// Only says what would be saved and what is lost.
        #[arg(long)]
        dry_run: bool,
    },
    /// A copy for others to look at, without payloads and keys.
    Redact {
        #[command(flatten)]
        state: State,
        /// The copy, which must not exist or be an empty folder.
        #[arg(long, value_name = "NEW")]
        to: PathBuf,
        /// Only says what would be copied.
        #[arg(long)]
        dry_run: bool,
    },
    /// Makes a native keyring and store of a manager's folder, locked with the same unlock key.
    Export {
        #[command(flatten)]
        state: State,
        /// The native folder, which must not exist or be empty.
        #[arg(long, value_name = "NEW")]
        to: PathBuf,
        /// Only says what would be exported.
        #[arg(long)]
        dry_run: bool,
    },
    /// Makes a manager's folder of what `export` made: --state-dir must not exist or be empty.
    Import {
        /// The native folder.
        #[arg(long, value_name = "NATIVE")]
        from: PathBuf,
        #[command(flatten)]
        state: State,
        /// Only says what would be imported.
        #[arg(long)]
        dry_run: bool,
    },
    /// Another unlock key, with a new DEK.
    ///
    /// Everything is sealed anew, so that the old unlock key and an old copy of the key file open
    /// nothing of what is on the disk afterwards. In a cluster of several managers this is only
    /// possible with --to-unlock-key-file.
    RotateUnlockKey {
        #[command(flatten)]
        of: Changing,
        #[command(flatten)]
        new: NewKey,
        /// Keeps the DEK: the old unlock key and an old copy of the key file go on opening all.
        #[arg(long)]
        keep_dek: bool,
    },
    /// A new DEK; everything is sealed anew.
    ///
    /// Also for one of several managers: only its own files change.
    RotateDek {
        #[command(flatten)]
        of: Changing,
    },
    /// Locks a manager that is not locked, with a new DEK.
    Lock {
        #[command(flatten)]
        of: Changing,
        #[command(flatten)]
        new: NewKey,
    },
    /// Autolock off, with a new DEK.
    AutolockOff {
        #[command(flatten)]
        of: Changing,
    },
    /// Finishes a rotation, or a change of the unlock key, that was interrupted.
    FinishRotation {
        #[command(flatten)]
        of: Changing,
    },
    /// Makes this node the only manager, for a cluster that lost its quorum for good.
    ///
    /// The other managers must never be started with it again.
    ForceNewCluster {
        #[command(flatten)]
        of: Changing,
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
    /// Shows progress although standard error is no terminal.
    #[arg(long)]
    pub(crate) progress: bool,
}

/// What every command that changes a folder takes.
#[derive(clap::Args)]
pub(crate) struct Changing {
    #[command(flatten)]
    pub(crate) state: State,
    /// Says what would be done, and changes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Where a new unlock key goes. It is written before anything changes.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct NewKey {
    /// Writes the new unlock key into this file (0600), which must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) new_unlock_key_file: Option<PathBuf>,
    /// Writes the new unlock key to standard output.
    #[arg(long)]
    pub(crate) new_unlock_key_stdout: bool,
    /// Takes the unlock key in this file instead of making one, `-` for standard input.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) to_unlock_key_file: Option<PathBuf>,
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
