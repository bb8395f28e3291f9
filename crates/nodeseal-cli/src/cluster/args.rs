use std::path::PathBuf;

use clap::Subcommand;

/// Where the store is, and how it is opened.
#[derive(clap::Args)]
pub(crate) struct Data {
    /// The folder that `init` made.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// The file that holds the unlock key (SWMKEY-1-…), `-` for standard input.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) unlock_key_file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct Init {
    /// The folder to make; it must not be there, or be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// The cluster's name, bound into everything that is sealed.
    #[arg(long, default_value = "default")]
    pub(crate) cluster: String,
    /// This node's name, bound into everything that is sealed.
    #[arg(long, default_value = "node")]
    pub(crate) node: String,
    /// Locks the key file; the unlock key is printed once, on standard output.
    #[arg(long)]
    pub(crate) autolock: bool,
}

#[derive(Subcommand)]
pub(crate) enum Secret {
    /// Creates a secret from a file, or from standard input for `-`; prints its id.
    Create {
        /// Its name.
        name: String,
        /// Where its payload is read from, 1 to 511,999 bytes.
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
        /// Its labels.
        #[arg(short, long = "label", value_name = "KEY[=VALUE]")]
        labels: Vec<String>,
        #[command(flatten)]
        policy: Policy,
        #[command(flatten)]
        data: Data,
    },
    /// Changes a secret's labels, and who may have it: at once, also where it is in use.
    Update {
        /// Id, name, or beginning of an id.
        secret: String,
        #[command(flatten)]
        labels: LabelChange,
        #[command(flatten)]
        policy: Policy,
        /// Any service may have it.
        #[arg(long, conflicts_with = "services")]
        any_service: bool,
        /// It may be on any node.
        #[arg(long, conflicts_with = "nodes")]
        any_node: bool,
        #[command(flatten)]
        data: Data,
    },
    /// Lists the secrets, without their payloads.
    Ls {
        /// Only ids.
        #[arg(short, long)]
        quiet: bool,
        /// `table`, or `json`: an object a line.
        #[arg(long, default_value = "table")]
        format: Format,
        /// `id=` and `name=` (beginnings), `label=KEY[=VALUE]`.
        #[arg(short, long = "filter", value_name = "NAME=VALUE")]
        filters: Vec<String>,
        #[command(flatten)]
        data: Data,
    },
    /// Everything about secrets but their payloads, as JSON.
    Inspect {
        /// Ids, names, or beginnings of ids.
        #[arg(required = true)]
        secrets: Vec<String>,
        #[command(flatten)]
        data: Data,
    },
    /// Removes secrets that nothing refers to.
    Rm {
        /// Ids, names, or beginnings of ids.
        #[arg(required = true)]
        secrets: Vec<String>,
        #[command(flatten)]
        data: Data,
    },
    /// Adds a version to a secret and makes it the current one; prints its number.
    Rotate {
        /// Id, name, or beginning of an id.
        secret: String,
        /// Where its payload is read from, 1 to 511,999 bytes.
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
        /// Gives it to the running tasks that follow the secret; else they keep what they have.
        #[arg(long)]
        refresh: bool,
        #[command(flatten)]
        data: Data,
    },
}

/// The operator's policy for a secret.
#[derive(clap::Args)]
pub(crate) struct Policy {
    /// Only services with this label may have it.
    #[arg(long = "service-selector", value_name = "KEY[=VALUE]")]
    pub(crate) services: Vec<String>,
    /// It may only be on nodes with this label.
    #[arg(long = "node-selector", value_name = "KEY[=VALUE]")]
    pub(crate) nodes: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct LabelChange {
    /// Adds a label, or gives it another value.
    #[arg(long = "label-add", value_name = "KEY[=VALUE]")]
    pub(crate) add: Vec<String>,
    /// Takes a label away.
    #[arg(long = "label-rm", value_name = "KEY")]
    pub(crate) remove: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Subcommand)]
pub(crate) enum Service {
    /// Creates a service; prints its id.
    Create {
        /// Its name.
        name: String,
        /// A secret for its tasks: NAME, or source=,target=,uid=,gid=,mode=,version=.
        #[arg(long = "secret", value_name = "SECRET")]
        secrets: Vec<String>,
        /// Its labels.
        #[arg(short, long = "label", value_name = "KEY[=VALUE]")]
        labels: Vec<String>,
        #[command(flatten)]
        data: Data,
    },
    /// Changes which secrets new tasks of a service get; running ones keep what they have, unless a
    /// policy no more allows it for the service's labels.
    Update {
        /// Id, name, or beginning of an id.
        service: String,
        #[command(flatten)]
        labels: LabelChange,
        /// Adds a secret, after those to remove are gone; as with `service create --secret`.
        #[arg(long = "secret-add", value_name = "SECRET")]
        secret_add: Vec<String>,
        /// Removes every reference to the secret of this name.
        #[arg(long = "secret-rm", value_name = "NAME")]
        secret_remove: Vec<String>,
        /// Exchanges its secrets for those before its last update.
        #[arg(long, conflicts_with_all = ["secret_add", "secret_remove", "add", "remove"])]
        rollback: bool,
        #[command(flatten)]
        data: Data,
    },
    /// Removes services, with their tasks.
    Rm {
        /// Ids, names, or beginnings of ids.
        #[arg(required = true)]
        services: Vec<String>,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Subcommand)]
pub(crate) enum Node {
    /// Adds a node; prints its name. `task run` adds one that is new, without labels.
    Add {
        /// Its name.
        node: String,
        /// Its labels, for the policies of secrets.
        #[arg(short, long = "label", value_name = "KEY[=VALUE]")]
        labels: Vec<String>,
        #[command(flatten)]
        data: Data,
    },
    /// Lists the nodes.
    Ls {
        /// Only names.
        #[arg(short, long)]
        quiet: bool,
        #[command(flatten)]
        data: Data,
    },
    /// Everything about nodes, as JSON.
    Inspect {
        /// Names.
        #[arg(required = true)]
        nodes: Vec<String>,
        #[command(flatten)]
        data: Data,
    },
    /// Changes a node's labels. Its tasks lose at once what policies no more allow there.
    Update {
        /// Its name.
        node: String,
        #[command(flatten)]
        labels: LabelChange,
        #[command(flatten)]
        data: Data,
    },
    /// Removes nodes that have no task.
    Rm {
        /// Names.
        #[arg(required = true)]
        nodes: Vec<String>,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Runs a task of a service on a node, which is added if it is new; prints the task's id.
    Run {
        /// Id, name, or beginning of an id.
        service: String,
        /// The node.
        #[arg(long)]
        node: String,
        #[command(flatten)]
        data: Data,
    },
    /// Ends tasks: the next delivery takes their secrets away.
    Stop {
        /// Ids.
        #[arg(required = true)]
        tasks: Vec<String>,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(clap::Args)]
pub(crate) struct Deliver {
    /// The node whose tasks get their secrets.
    #[arg(long)]
    pub(crate) node: String,
    /// The folder for the tasks' secrets; it is made where it is missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Refuses to deliver where the kernel does not take `noswap`.
    #[arg(long)]
    pub(crate) require_no_swap: bool,
    /// Mounts nothing: the files stand in the folder itself, which must be memory-backed.
    #[arg(long)]
    pub(crate) in_place: bool,
    /// With --in-place: a folder on a disk will do. Payloads reach it in the clear.
    #[arg(long, requires = "in_place")]
    pub(crate) allow_disk: bool,
    #[command(flatten)]
    pub(crate) data: Data,
}

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Checks that no line of the audit file was altered, added, moved, removed or cut off.
    Verify {
        #[command(flatten)]
        data: Data,
    },
    /// Puts a damaged audit file aside and begins a new one.
    Restart {
        #[command(flatten)]
        data: Data,
    },
}
