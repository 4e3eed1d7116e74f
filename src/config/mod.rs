//! Configuration.

pub mod check;
mod dataset_path;
mod diagnostic;
mod field;
mod layers;
mod load;
mod macros;
mod overrides;
mod provenance;
mod shape;
pub mod tables;
mod text;

pub use dataset_path::DatasetPath;
pub use diagnostic::{Diagnostic, Diagnostics, Place};
pub use field::{Context, Field, Fields, Reader};
pub use figment::value::Value;
pub use layers::read_file;
pub use load::{Loaded, Request, load_as, load_text, to_toml};
pub use overrides::resolve;
pub use provenance::{Entry, Layer, Provenance};
pub use shape::{
    Family, FamilyInfo, Key, Kind, Shape, Table, TableInfo, any_keys, default_value,
    first_paragraph, full_keys, join, join_doc, key_name,
};
pub use text::suggest;

#[cfg(test)]
mod tests;
