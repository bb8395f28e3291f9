//! No heap block is released with a secret in it: an allocator looks at every one.
//!
//! Registers and stacks are not looked at; the library does not promise them either.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test says that it failed by panicking")]

#[path = "wipe/by_hand.rs"]
mod by_hand;
#[cfg(feature = "swarm")]
#[path = "support/capture.rs"]
mod capture;
#[cfg(feature = "cluster")]
#[path = "wipe/cluster.rs"]
mod cluster;
#[path = "wipe/keys.rs"]
mod keys;
#[path = "wipe/payloads.rs"]
mod payloads;
#[cfg(feature = "swarm")]
#[path = "wipe/swarm.rs"]
mod swarm;
#[path = "wipe/watch.rs"]
mod watch;
