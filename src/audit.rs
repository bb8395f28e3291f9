//! What happened to secrets and keys, for whoever has to account for it.
//!
//! An [`Event`] is a flat record: who did what to which secret, task or node, and when. It has no
//! field for a payload or a key. The state machine returns events with its outcomes; the opening of
//! payloads and the unlocking of key files report to a [`Sink`] of the caller's.

use core::fmt;

use crate::error::Result;
use crate::grant::wire::{self, choice, record};
use crate::grant::{NodeId, SecretId, ServiceId, TaskId, Time};

mod file;
mod key;
#[cfg(feature = "tracing")]
mod tracing;

pub use file::{Anchor, FileSink, Verified};
pub use key::AuditKey;
#[cfg(feature = "tracing")]
pub use tracing::TracingSink;

const FORMAT: u8 = 1;

/// Takes events, for good.
///
/// ```
/// use std::sync::Mutex;
/// use nodeseal::audit::{Event, Sink};
///
/// #[derive(Default)]
/// struct Lines(Mutex<Vec<String>>);
///
/// impl Sink for Lines {
///     fn record(&self, event: &Event) -> nodeseal::Result<()> {
///         self.0.lock().unwrap().push(event.to_string());
///         Ok(())
///     }
/// }
/// ```
pub trait Sink: Send + Sync {
    /// Takes one event.
    ///
    /// # Errors
    ///
    /// The sink's own. What was to be done after the event is then not done: no payload is opened
    /// and no key file unlocked without its record.
    fn record(&self, event: &Event) -> Result<()>;
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When, by the clock of whoever asked for it.
    pub time: Time,
    /// Index of the command that did it. Every replica that applies it, also again after a restart,
    /// makes the same events.
    pub index: Option<u64>,
    /// Who asked for it, as the caller names them; may be empty.
    pub by: String,
    /// What happened.
    pub action: Action,
    /// To which secret.
    pub secret: Option<SecretId>,
    /// To which of its versions, or of the payload key's.
    pub version: Option<u64>,
    /// For which service.
    pub service: Option<ServiceId>,
    /// For which task.
    pub task: Option<TaskId>,
    /// On which node.
    pub node: Option<NodeId>,
    /// What else there is to say: a name, or why it was refused.
    pub detail: Option<String>,
}

record!(Event { time, index, by, action, secret, version, service, task, node, detail });

macro_rules! actions {
    ($($tag:literal $variant:ident $name:literal $doc:literal;)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Action {
            $(#[doc = $doc] $variant,)*
        }

        choice!(Action { $($tag => $variant),* });

        impl Action {
            /// Its name: `secret.create`, for example.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

actions! {
    0 SecretCreated "secret.create" "A secret was created.";
    1 SecretUpdated "secret.update" "A secret's labels, dates or policy were changed.";
    2 SecretRotated "secret.rotate" "A version was added to a secret, or another made current.";
    3 VersionRemoved "secret.remove-version" "A version of a secret was removed.";
    4 SecretRemoved "secret.remove" "A secret was removed.";
    5 Granted "grant" "A service was granted a secret.";
    6 Revoked "revoke" "A grant was taken back.";
    7 Assigned "assign" "A task on a node was assigned a version of a secret.";
    8 Released "release" "A task needs a version of a secret no more, or may not have it.";
    9 PayloadOpened "open" "A payload was opened, to be delivered to a node.";
    10 Delivered "deliver" "A secret's file was put in place for a task.";
    11 Withdrawn "withdraw" "A secret's file was taken away.";
    12 PayloadKeyRotated "payload-key.rotate" "The cluster's payload key was replaced.";
    13 PayloadKeyDropped "payload-key.drop" "No payload was left under an old payload key.";
    14 LockChanged "lock.change" "The cluster's lock record was replaced.";
    15 Unlocked "unlock" "A node's key file was unlocked.";
    16 UnlockFailed "unlock.fail" "A node's key file was not unlocked.";
    17 Refused "refuse" "A command was refused.";
}

/// The value of one of an [`Event`]'s fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "sinks handle every kind of value")]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// A text.
    Text(&'a str),
}

impl Event {
    /// The event `action` at `time`, about nothing yet.
    #[must_use]
    pub const fn new(action: Action, time: Time) -> Self {
        Self {
            time,
            index: None,
            by: String::new(),
            action,
            secret: None,
            version: None,
            service: None,
            task: None,
            node: None,
            detail: None,
        }
    }

    /// The fields that say about what, and by whom, in a fixed order: what a sink writes beside
    /// [`Event::time`] and [`Event::action`].
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, Value<'_>)> {
        let by = (!self.by.is_empty()).then_some(Value::Text(&self.by));
        [
            ("index", self.index.map(Value::Number)),
            ("by", by),
            ("secret", self.secret.as_ref().map(|id| Value::Text(id.as_str()))),
            ("version", self.version.map(Value::Number)),
            ("service", self.service.as_ref().map(|id| Value::Text(id.as_str()))),
            ("task", self.task.as_ref().map(|id| Value::Text(id.as_str()))),
            ("node", self.node.as_ref().map(|id| Value::Text(id.as_str()))),
            ("detail", self.detail.as_deref().map(Value::Text)),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
    }

    /// The event's bytes: `0x01`, then its fields in the crate's own encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(FORMAT, self, 128).into_vec()
    }

    /// Reads what [`Event::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`](crate::Error::Damaged) for bytes of another form,
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a later format.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        wire::decode("an audit event", FORMAT, bytes)
    }
}

/// One line: time, action, and `name=value` for every field; texts that could be misread are
/// quoted.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.time, self.action.name())?;
        self.fields().try_for_each(|(name, value)| match value {
            Value::Number(number) => write!(f, " {name}={number}"),
            Value::Text(text) if plain(text) => write!(f, " {name}={text}"),
            Value::Text(text) => write!(f, " {name}={text:?}"),
        })
    }
}

fn plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b))
}

#[cfg(test)]
mod tests;
