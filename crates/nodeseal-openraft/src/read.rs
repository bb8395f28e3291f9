//! Reading entries out of a log that changes meanwhile.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use nodeseal::{Error, Store};
use serde::de::DeserializeOwned;

use crate::stream;

/// Reads the entries of `from..end` that the log holds, up to `limit` bytes of them, but at least
/// one: all out of one state of the log.
pub(crate) fn entries<E: DeserializeOwned>(
    store: &Store,
    mut from: u64,
    end: u64,
    limit: Option<NonZeroUsize>,
) -> Result<Vec<E>, Error> {
    loop {
        match once(store, from, end, limit) {
            // What comes behind is still there.
            Err(Error::Compacted { upto }) => from = from.max(upto.saturating_add(1)),
            // Others are there by now.
            Err(Error::Truncated { .. }) => {}
            read => return read,
        }
    }
}

fn once<E: DeserializeOwned>(
    store: &Store,
    from: u64,
    end: u64,
    limit: Option<NonZeroUsize>,
) -> Result<Vec<E>, Error> {
    let mut cursor = store.cursor(from..end)?;
    if let Some(limit) = limit {
        cursor = cursor.limit_bytes(u64::try_from(limit.get()).unwrap_or(u64::MAX));
    }
    let mut found = Vec::new();
    loop {
        let more = cursor.read(|_, plain| {
            found.push(postcard::from_bytes(plain).map_err(stream)?);
            Ok::<_, Error>(ControlFlow::Continue(()))
        })?;
        if !more || limit.is_some() {
            return Ok(found);
        }
    }
}
