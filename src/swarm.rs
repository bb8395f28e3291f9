//! Docker Swarm's formats, read side.

mod proto;
