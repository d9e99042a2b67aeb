//! # Transactions beside other stores

pub mod stores;
