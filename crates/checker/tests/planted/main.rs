//! The checker checked: honest histories raise no alarm, and each planted anomaly is found under its name.

mod anomalies;
mod honest;
mod planted;
