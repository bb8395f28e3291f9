//! Keys and their life cycle, without any I/O.

mod unlock;

pub use unlock::UnlockKey;
