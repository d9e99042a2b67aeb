//! Engines: the structures that keep a keyspace's entries.

pub mod lsm;
