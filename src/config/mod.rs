//! Configuration.

pub mod check;
mod dataset_path;
mod diagnostic;
mod field;
mod macros;
mod provenance;
mod shape;
mod text;

pub use dataset_path::DatasetPath;
pub use diagnostic::{Diagnostic, Diagnostics, Place};
pub use field::{Context, Field, Fields, Reader};
pub use figment::value::Value;
pub use provenance::{Entry, Layer, Provenance};
pub use shape::{
    Family, FamilyInfo, Key, Kind, Shape, Table, TableInfo, default_value, first_paragraph,
    full_keys, join_doc, key_name,
};

#[cfg(test)]
mod tests;
