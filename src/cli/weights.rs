//! `run weights`: published weights, and what a file of weights holds.

use super::say;
use crate::backbone::BackboneConfig;
use crate::checkpoint::Shapes;
use crate::config::{Experiment, Family, load_str};
use crate::record::Verbosity;
use crate::train::signals::StopFlag;
use crate::weights::fetch::{Cache, Cached};
use crate::weights::registry::{self, ENTRIES, Entry, Source};
use crate::weights::{Info, Plan, Weights, family, plan};
use crate::{Error, Result};
use clap::Subcommand;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tch::{Device, nn};

#[derive(Debug, Subcommand)]
pub enum WeightsCommand {
    /// What `backbone.pretrained` can name: backbone, size, and whether the file is there; with -v also
    /// how images are prepared.
    List,
    /// Downloads a file into the cache, going on where an earlier attempt was cut.
    Fetch { name: String },
    /// Format, nesting, and every tensor with its shape and type; says which backbone it fits.
    Show { file: PathBuf },
}

pub fn weights(command: Option<&WeightsCommand>, verbosity: Verbosity) -> Result<()> {
    match command {
        None | Some(WeightsCommand::List) => {
            say(&list(&Cache::of_process()?, verbosity == Verbosity::Verbose)?)
        }
        Some(WeightsCommand::Fetch { name }) => {
            let Some(entry) = registry::find(name) else { return Err(unknown(name)) };
            let quiet = verbosity == Verbosity::Quiet;
            let path = Cache::of_process()?.fetch(entry, quiet, &StopFlag::listen()?)?;
            say(&format!("{}\n", path.display()))
        }
        Some(WeightsCommand::Show { file }) => say(&show(file)?),
    }
}

fn unknown(name: &str) -> Error {
    let near = registry::near(name);
    let help = match near.as_slice() {
        [] => "`run weights` lists all".into(),
        near => format!("did you mean {}? `run weights` lists all", near.join(", ")),
    };
    Error::input(format!("there are no published weights named {name}")).help(help)
}

/// One line each; with how images are prepared where that is asked for.
fn list(cache: &Cache, verbose: bool) -> Result<String> {
    let width = ENTRIES.iter().map(|entry| entry.name.len()).max().unwrap_or_default();
    let mut out = String::new();
    for entry in ENTRIES {
        let Entry { name, kinds, megabytes, preprocessing, note, .. } = entry;
        let state = match (cache.look(entry)?, entry.source) {
            (Cached::Fits, _) => "cached",
            (Cached::Differs(_), _) => "cached, but its checksum differs",
            (Cached::Absent, Source::Url(_)) => "",
            (Cached::Absent, Source::Page(_)) => "by hand",
        };
        let kinds = kinds.join(", ");
        let text = format!("{name:width$}  {kinds:<20} {megabytes:>5} MB  {state:<8}  {note}");
        line(&mut out, &text);
        if verbose {
            line(&mut out, &format!("{:width$}  {}", "", preprocessing.describe()));
        }
    }
    line(&mut out, &format!("\nkept in {}", cache.folder.display()));
    Ok(out)
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn show(file: &Path) -> Result<String> {
    let quiet = false;
    let path = match registry::find(file) {
        Some(entry) if !file.exists() => {
            Cache::of_process()?.fetch(entry, quiet, &StopFlag::listen()?)?
        }
        _ => file.to_path_buf(),
    };
    let weights = Weights::open(&path)?;
    let mut out = format!("{}: {}\n", path.display(), weights.format);
    // Writing to a String can't fail.
    let mut told = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<9}{value}");
    };
    if !weights.nesting.is_empty() {
        told("under", weights.nesting.join("."));
    }
    let elements: i64 = weights.tensors.iter().map(Info::numel).fold(0, i64::saturating_add);
    told("tensors", format!("{} ({elements} elements)", weights.tensors.len()));
    if !weights.skipped.is_empty() {
        told("others", weights.skipped.join(", "));
    }
    for (name, text) in &weights.texts {
        told("header", format!("{name}: {text}"));
    }
    weights.notices.iter().for_each(|notice| told("note", notice.clone()));
    fits(&weights).into_iter().for_each(|text| told("fits", text));
    let width = weights.tensors.iter().map(|info| info.name.len()).max().unwrap_or_default();
    for Info { name, dtype, shape, .. } in &weights.tensors {
        let _ = writeln!(out, "  {name:width$}  {:<8}  {shape:?}", dtype.name);
    }
    Ok(out)
}

/// Which kind of backbone the weights fit, tried on the one that they look like.
fn fits(weights: &Weights) -> Vec<String> {
    let forms = weights.forms();
    let kinds = BackboneConfig::family().kinds;
    // Wrappers in front of the names must go before the network can be told.
    let bare = |name: &str| -> Vec<String> {
        let parts = name.match_indices('.').map(|(at, _)| name[at + 1..].to_owned());
        std::iter::once(name.to_owned()).chain(parts.take(3)).collect()
    };
    let mut shapes = Shapes::new();
    for info in &weights.tensors {
        for name in bare(&info.name) {
            shapes.entry(name).or_insert_with(|| info.shape.clone());
        }
    }
    let Some(known) = family::recognise(&shapes) else {
        return vec!["no backbone that is known by its names".into()];
    };
    let Some(kind) = kinds.iter().find(|kind| kind.name == known) else {
        return vec![format!("looks like {known}")];
    };
    match plan(&network(kind.name), &forms, &weights.path) {
        Ok(Plan { names, prefix, notices }) => {
            let under = if prefix.is_empty() { prefix } else { format!(", under `{prefix}`") };
            let fitting = format!("{} ({} of its tensors{under})", kind.name, names.len());
            [vec![fitting], notices].concat()
        }
        Err(error) => vec![format!("looks like {}, but: {error}", kind.name)],
    }
}

/// Names and shapes of a kind of backbone with its default keys.
fn network(kind: &str) -> Shapes {
    let text = format!("data.kind = \"synthetic_faces\"\n[backbone]\nkind = \"{kind}\"\n");
    let experiment = load_str::<Experiment>("weights.toml", &text, &[]);
    let experiment = experiment.expect("the defaults of a kind are right").experiment;
    let store = nn::VarStore::new(Device::Cpu);
    let _backbone = experiment.backbone.build(&store.root());
    store.variables().into_iter().map(|(name, tensor)| (name, tensor.size())).collect()
}
