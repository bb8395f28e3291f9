//! Segment files of a write-ahead log: etcd's frames, for etcd's records and for our own.
//!
//! # Format
//!
//! A log is a folder of segments named by sequence number and first index. A segment is a run of
//! frames, then zeros up to its preallocated size. A frame starts at a multiple of 8:
//!
//! ```text
//! 0   8   length word, little endian: bits 0..55 length n of the record,
//!         top byte 0x80 | p when p bytes of padding follow, else 0; a zero word ends the segment
//! 8   n   record, protobuf: 1 type, 2 CRC, 3 data (absent when there is none)
//! 8+n p   zeros, p = -n mod 8
//! ```
//!
//! The CRC is CRC-32C (Castagnoli) over the data of all records so far, running on from segment to
//! segment; type, length and padding are not covered. A record of type CRC opens each segment and
//! states the value that the chain has there. In our own logs every segment begins at zero, so that
//! one can be replaced without the next.
//!
//! # Damage
//!
//! Nothing that stands on the disk stops the reading. What cannot be read is reported with its
//! place, and reading goes on at the next frame whose successor continues the chain.

mod append;
mod block;
#[cfg(feature = "swarm")]
pub(crate) mod encode;
#[cfg(feature = "swarm")]
pub(crate) mod etcd;
mod frame;
mod frames;
mod name;
pub(crate) mod proto;
mod segment;

pub(crate) use append::{Appender, RESERVE, Unwritten, Use};
#[cfg(feature = "swarm")]
pub(crate) use block::BlockFile;
pub(crate) use frame::Kind;
#[cfg(feature = "swarm")]
pub(crate) use frame::{Raw, read_raw};
pub(crate) use frames::{Frames, HEAD, take_frame};
#[cfg(feature = "swarm")]
pub(crate) use name::pair;
pub(crate) use name::{Segment, SegmentName, list};
pub(crate) use segment::{Check, Record, SegmentReader, Step, Tail};
