//! Disks that are full, mounts that are read-only and few open files, all of them real.
//!
//! The mounts need root and a kernel with tmpfs; where either is missing the output says `SKIPPED`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "store_small_disk/descriptors.rs"]
mod descriptors;
#[path = "store_small_disk/full.rs"]
mod full;
#[path = "store_small_disk/log.rs"]
mod log;
#[path = "store_small_disk/read_only.rs"]
mod read_only;
#[path = "store_small_disk/tmpfs.rs"]
mod tmpfs;
