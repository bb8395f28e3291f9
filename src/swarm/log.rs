//! The raft log of a manager: segments whose entries carry sealed records.
//!
//! Read in two passes, so that memory holds one entry at a time and not the log's plaintext: the
//! first, without any key, checks frames and chain and finds which entries count; the second opens
//! each entry once.

mod message;
mod open;
mod scan;

pub(crate) use message::{Entry, EntryKind, Members};
pub use message::{HardState, RaftMember};
pub(crate) use message::{MembershipChange, SnapshotPoint};
pub use open::{EntryFacts, EntryRange};
pub(crate) use open::{Keys, Unopened, Visit, algorithm_name, open_entries};
pub use scan::SegmentFacts;
#[cfg(test)]
pub(crate) use scan::scan;
pub(crate) use scan::{EntryRecord, LogScan, Seen, scan_watched};
