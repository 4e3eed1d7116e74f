//! data

pub mod synthetic;
