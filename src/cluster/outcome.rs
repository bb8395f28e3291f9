use core::fmt;

use crate::audit::Event;
use crate::error::Result;
use crate::grant::NodeId;
use crate::grant::wire::{self, choice, record};

use super::object::Referrer;

const FORMAT: u8 = 1;

/// What a command did. Every replica gets the same.
///
/// # Format
///
/// `0x01`, then the fields in the crate's own encoding (`docs/design.md`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Index of the command: the version of the objects that it changed.
    pub index: u64,
    /// Whether it was done. One that was refused changed nothing.
    pub result: Result<(), Refusal>,
    /// The nodes whose assignments changed: those to be sent the next one.
    pub woken: Vec<NodeId>,
    /// What to tell the audit sink. A replica that applies the command again makes the same events;
    /// their index tells.
    pub events: Vec<Event>,
}

record!(Outcome { index, result, woken, events });

impl Outcome {
    /// The outcome's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(FORMAT, self, 128).into_vec()
    }

    /// Reads what [`Outcome::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`](crate::Error::Damaged) for bytes of another form,
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a later format.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        wire::decode("an outcome", FORMAT, bytes)
    }
}

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A secret.
    Secret,
    /// A version of a secret.
    Version,
    /// A service.
    Service,
    /// A task.
    Task,
    /// A node.
    Node,
    /// An object of the author's own.
    Referrer,
}

choice!(Kind {
    0 => Secret, 1 => Version, 2 => Service, 3 => Task, 4 => Node, 5 => Referrer,
});

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "secret",
            Self::Version => "version",
            Self::Service => "service",
            Self::Task => "task",
            Self::Node => "node",
            Self::Referrer => "referrer",
        })
    }
}

/// Who needs a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum User {
    /// A service, by name.
    Service(String),
    /// A service's previous references, to which it may be rolled back; by name.
    Previous(String),
    /// Live tasks of a service, by its name, that were made before it was changed.
    Tasks(String),
    /// An object of the author's own.
    Referrer(Referrer),
}

choice!(User {
    0 => Service(name), 1 => Previous(name), 2 => Tasks(name), 3 => Referrer(referrer),
});

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => f.write_str(name),
            Self::Previous(name) => write!(f, "{name} (previous specification)"),
            Self::Tasks(name) => write!(f, "{name} (running tasks)"),
            Self::Referrer(Referrer { kind, id }) => write!(f, "{kind} {id}"),
        }
    }
}

/// Why a command was refused. The texts are Docker's where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A command of this index, or of a later one, was applied already.
    Applied {
        /// The index that was applied last.
        last: u64,
    },
    /// The request is not of the right form.
    Invalid(String),
    /// The name or id is taken.
    Exists {
        /// By what.
        kind: Kind,
        /// The name or id.
        name: String,
    },
    /// There is no such object.
    NotFound {
        /// What it would be.
        kind: Kind,
        /// Its id, or a version's number.
        id: String,
    },
    /// Secrets that references name are not there, or have other names.
    SecretsNotFound(Vec<String>),
    /// The object was changed since it was read.
    OutOfSequence {
        /// Its version now.
        version: u64,
    },
    /// Something needs the object.
    InUse {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
        /// Who needs it.
        by: Vec<User>,
    },
    /// A secret's policy does not allow it.
    Denied {
        /// The secret's name.
        secret: String,
        /// Whose labels are not those that the policy asks for.
        kind: Kind,
        /// Its name or id.
        name: String,
    },
    /// The payload is sealed under a payload key that the cluster does not have, any more or yet:
    /// seal it anew.
    PayloadKey {
        /// The key's version.
        version: u64,
    },
    /// The cluster is not in the state for it.
    State(String),
}

choice!(Refusal {
    0 => Applied { last },
    1 => Invalid(what),
    2 => Exists { kind, name },
    3 => NotFound { kind, id },
    4 => SecretsNotFound(names),
    5 => OutOfSequence { version },
    6 => InUse { kind, name, by },
    7 => Denied { secret, kind, name },
    8 => PayloadKey { version },
    9 => State(what),
});

impl Refusal {
    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }

    pub(super) fn not_found(kind: Kind, id: impl fmt::Display) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }

    pub(super) fn exists(kind: Kind, name: impl fmt::Display) -> Self {
        Self::Exists { kind, name: name.to_string() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied { last } => write!(f, "the command of index {last} was applied already"),
            Self::Invalid(what) | Self::State(what) => f.write_str(what),
            Self::Exists { kind, name } => write!(f, "{kind} {name} already exists"),
            Self::NotFound { kind, id } => write!(f, "{kind} {id} not found"),
            Self::SecretsNotFound(names) => {
                let plural = if names.len() == 1 { "secret" } else { "secrets" };
                write!(f, "{plural} not found: {}", names.join(", "))
            }
            Self::OutOfSequence { .. } => f.write_str("update out of sequence"),
            Self::InUse { kind, name, by } => in_use(f, *kind, name, by),
            Self::Denied { secret, kind, name } => {
                write!(f, "the policy of secret '{secret}' does not allow {kind} {name}")
            }
            Self::PayloadKey { version } => {
                write!(f, "sealed under payload key {version}, which the cluster does not have")
            }
        }
    }
}

fn in_use(f: &mut fmt::Formatter<'_>, kind: Kind, name: &str, by: &[User]) -> fmt::Result {
    write!(f, "{kind} '{name}' is in use by ")?;
    if by.iter().all(|user| matches!(user, User::Service(_))) {
        f.write_str(if by.len() == 1 {
            "the following service: "
        } else {
            "the following services: "
        })?;
    }
    for (at, user) in by.iter().enumerate() {
        write!(f, "{}{user}", if at == 0 { "" } else { ", " })?;
    }
    Ok(())
}

impl std::error::Error for Refusal {}
