//! Configuration: from TOML, environment and options to one checked struct.
//!
//! Layers, lowest first: `defaults.toml`, preprocessing of published weights, base files, the experiment file, `ARCRUN_SET_*`, `--set`.
//! Parts declare their keys with [`config_struct!`](crate::config_struct); [`load`] merges the
//! layers, reads them and reports every mistake with its place.

pub mod check;
mod dataset_path;
mod diagnostic;
mod experiment;
mod field;
mod inherited;
mod layers;
mod leaf;
mod load;
mod macros;
mod overrides;
mod pretrained;
mod provenance;
mod shape;
pub mod tables;
mod text;

pub use dataset_path::DatasetPath;
pub use diagnostic::{Diagnostic, Diagnostics, Place};
pub use experiment::{Experiment, families};
pub use field::{Context, Field, Fields, Reader};
pub use figment::value::Value;
pub use layers::read_file;
pub use load::{
    DEFAULTS, Loaded, Over, Request, document, load, load_as, load_over, load_str, load_text,
    read_value, to_toml,
};
pub(crate) use overrides::insert;
pub use overrides::{Stated, VARIABLE_PREFIX, resolve};
pub use pretrained::Pretrained;
pub use provenance::{Entry, Layer, Provenance};
pub use shape::{
    Family, FamilyInfo, Key, Kind, Shape, Table, TableInfo, any_keys, default_value,
    first_paragraph, full_keys, join, join_doc, key_name,
};
pub use text::{escape, expand, suggest};

#[cfg(test)]
mod tests;
