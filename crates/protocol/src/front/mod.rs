//! The protocols that plain clients speak.

pub mod resp;
