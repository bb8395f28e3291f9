//! Delivery on a real kernel: as root, and as the root of a user namespace, each test in a mount
//! namespace of its own. What the machine does not allow is passed over, and said.

#![cfg(all(feature = "delivery", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "delivery/crash.rs"]
mod crash;
#[path = "delivery/hostile.rs"]
mod hostile;
#[path = "delivery/life.rs"]
mod life;
#[path = "delivery/namespace.rs"]
mod namespace;
#[path = "delivery/races.rs"]
mod races;
#[path = "delivery/support.rs"]
mod support;
