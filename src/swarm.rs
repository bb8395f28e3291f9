//! Docker Swarm's formats, read side.

mod ec_key;
mod fernet;
mod key_file;
mod pem;
mod pkcs8;
mod proto;
mod record;
mod rfc1423;

pub use key_file::{DekHeader, DekSlot, Finding, KeyFile, KeyForm, NodeKeys};
pub use record::Algorithm;
