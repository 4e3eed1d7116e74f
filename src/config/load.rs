//! From files, environment and options to one checked struct.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use figment::value::Value;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::field::{Context, Field, Reader, clean};
use super::inherited;
use super::layers::{merge, parse, read_file, with_bases};
use super::overrides::{ENVIRONMENT, Override, SET, Stated, apply, apply_stated};
use super::provenance::{Layer, Provenance};
use super::shape::full_keys;
use crate::{Error, Result};

/// What is to be loaded.
#[derive(Clone, Debug)]
pub struct Request {
    pub file: PathBuf,
    /// `KEY=VALUE` of each `--set`, in order.
    pub sets: Vec<String>,
    /// Variables: `ARCRUN_SET_*` set keys, all serve `${VAR}`.
    pub environment: Vec<(String, String)>,
}

impl Request {
    /// A file with the process's environment and no `--set`.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        let text = |s: std::ffi::OsString| s.into_string().ok();
        let variables = std::env::vars_os().filter_map(|(k, v)| text(k).zip(text(v)));
        Request { file: file.into(), sets: Vec::new(), environment: variables.collect() }
    }
}

/// A configuration and where each of its values comes from.
#[derive(Clone, Debug)]
pub struct Loaded<R = super::Experiment> {
    pub experiment: R,
    pub provenance: Provenance,
    pub file: PathBuf,
}

/// The lowest layer, with a comment for every key.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// Reads an experiment.
pub fn load<R: Field>(request: &Request) -> Result<Loaded<R>> {
    load_as(request, DEFAULTS)
}

/// Reads a text as if it were the file `name`, such as a run's resolved configuration: nothing
/// of the environment takes part.
pub fn load_str<R: Field>(name: &str, text: &str, sets: &[String]) -> Result<Loaded<R>> {
    let request = Request { file: name.into(), sets: sets.to_vec(), environment: Vec::new() };
    load_layers(&request, text, DEFAULTS, None, false)
}

/// Reads the file of `request` over `defaults`, the text of the lowest layer.
pub fn load_as<R: Field>(request: &Request, defaults: &str) -> Result<Loaded<R>> {
    let text = read_file(&request.file)?;
    load_text(request, &text, defaults)
}

/// The same for a text that stands for the content of `request.file`.
pub fn load_text<R: Field>(request: &Request, text: &str, defaults: &str) -> Result<Loaded<R>> {
    load_over(request, text, defaults, None)
}

/// Settings that another file states over an experiment, such as a sweep's `[set]`.
pub struct Over<'a> {
    /// Names the layer: "the sweep file".
    pub name: &'a str,
    /// Where its relative paths start.
    pub folder: &'a Path,
    pub settings: &'a [Stated],
}

/// The same with settings between the environment and `--set`.
pub fn load_over<R: Field>(
    request: &Request,
    text: &str,
    defaults: &str,
    over: Option<Over<'_>>,
) -> Result<Loaded<R>> {
    load_layers(request, text, defaults, over, true)
}

/// `inherit`: preprocessing that is not stated comes from the backbone's weights. A run's own
/// configuration states what it was trained with, or is older than the key.
fn load_layers<R: Field>(
    request: &Request,
    text: &str,
    defaults: &str,
    over: Option<Over<'_>>,
    inherit: bool,
) -> Result<Loaded<R>> {
    let current = std::env::current_dir()
        .map_err(|e| Error::input(format!("cannot find the current folder: {e}")))?;
    let folder = clean(&current.join(request.file.parent().unwrap_or(Path::new(""))));
    let file = request.file.display().to_string();

    let lowest = parse("defaults.toml", defaults, &current, "the defaults");
    let lowest = lowest.map_err(|wrong| Diagnostics { file: file.clone(), list: vec![wrong] })?;
    let mut layers = vec![lowest];
    layers.extend(with_bases(&request.file, text, &folder, &request.environment)?);
    let mut found = Vec::new();
    override_with::<R>(&mut layers, &current, request, over, &mut found);

    let mut merged = merge(&mut layers);
    let inherited = inherit.then(|| inherited::preprocessing(&merged, &layers[1..])).flatten();
    if let Some(layer) = inherited {
        layers.insert(1, layer);
        merged = merge(&mut layers);
    }
    let provenance = Provenance { layers, current, merged };
    let (experiment, mistakes) = read::<R>(&provenance, &request.environment);
    found.extend(mistakes);
    match experiment {
        Some(experiment) if found.is_empty() => {
            Ok(Loaded { experiment, provenance, file: request.file.clone() })
        }
        _ => Err(Diagnostics { file, list: found }.into()),
    }
}

fn override_with<R: Field>(
    layers: &mut Vec<Layer>,
    current: &Path,
    request: &Request,
    over: Option<Over<'_>>,
    found: &mut Vec<Diagnostic>,
) {
    let variables = request.environment.iter().filter_map(|(k, v)| Override::variable(k, v));
    let mut variables: Vec<Override> = variables.collect();
    // The environment has no order of its own; the messages about it have one.
    variables.sort_by(|a, b| a.text().cmp(b.text()));
    found.extend(apply(layers, ENVIRONMENT, current, &R::shape(), variables));
    if let Some(Over { name, folder, settings }) = over {
        found.extend(apply_stated(layers, name, folder, &R::shape(), settings));
    }
    let mut sets = Vec::new();
    for argument in &request.sets {
        match Override::set(argument) {
            Ok(set) => sets.push(set),
            Err(wrong) => found.push(wrong),
        }
    }
    found.extend(apply(layers, SET, current, &R::shape(), sets));
}

fn read<R: Field>(
    provenance: &Provenance,
    environment: &[(String, String)],
) -> (Option<R>, Vec<Diagnostic>) {
    let merged = &provenance.merged;
    let keys = full_keys(&R::shape(), Some(merged), None);
    let keys: Vec<String> = keys.into_iter().map(|full| full.path).collect();
    read_value(provenance, merged, environment, &keys)
}

/// Reads `merged`, whose places and folders `provenance` knows. `keys` serve "did you mean".
pub fn read_value<R: Field>(
    provenance: &Provenance,
    merged: &Value,
    environment: &[(String, String)],
    keys: &[String],
) -> (Option<R>, Vec<Diagnostic>) {
    let datasets = provenance.current.join("datasets");
    let found = RefCell::default();
    let mut context = Context { provenance, environment, datasets, keys, found };
    // Data roots are looked up under paths.datasets, so that key is read first; what is wrong
    // with it is said when the whole is read.
    let at = Reader::at(&context, "paths.datasets");
    let stated = merged.find_ref("paths.datasets");
    let datasets = stated.and_then(|value| PathBuf::read(Some(value), None, &at));
    context.found.take();
    if let Some(datasets) = datasets {
        context.datasets = datasets;
    }
    let read = R::read(Some(merged), None, &Reader::at(&context, ""));
    (read, context.found.into_inner())
}

/// One document alone, which is no experiment: no base, no environment, no defaults.
///
/// # Errors
/// What is not TOML, with its place.
pub fn document(file: &Path, text: &str) -> Result<Provenance> {
    let current = std::env::current_dir()
        .map_err(|e| Error::input(format!("cannot find the current folder: {e}")))?;
    let folder = clean(&current.join(file.parent().unwrap_or(Path::new(""))));
    let shown = file.display().to_string();
    let layer = parse(&shown, text, &folder, "the file")
        .map_err(|wrong| Diagnostics { file: shown.clone(), list: vec![wrong] })?;
    let merged = Value::from(layer.values.clone());
    Ok(Provenance { layers: vec![layer], current: folder, merged })
}

/// A configuration as a file that reads back to the same values: stable order, `${` escaped.
pub fn to_toml<R: serde::Serialize>(experiment: &R) -> String {
    // TOML strings never escape `$`, `{`, so the text can be escaped as a whole.
    let text = toml::to_string(experiment).expect("a configuration is made of TOML values");
    super::text::escape(&text)
}
