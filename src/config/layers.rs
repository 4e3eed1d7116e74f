//! The layers of a configuration: embedded defaults, base files, the file, and merging them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use toml_edit::{Document, Item, TableLike};

use super::diagnostic::{Diagnostic, Diagnostics, Place};
use super::provenance::{Entry, Layer};
use super::shape::join;
use super::text::{expand, suggest};
use crate::{Error, Result};

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// All layers as one table. A layer that states another `kind` for a table replaces that table:
/// what lower layers say about it is left out here and marked in `layers`.
pub fn merge(layers: &mut [Layer]) -> Value {
    let mut kinds: BTreeMap<String, String> = BTreeMap::new();
    let mut kept: Vec<Layer> = Vec::new();
    for layer in layers.iter() {
        for (table, kind) in stated_kinds(&layer.values) {
            if kinds.get(&table).is_some_and(|lower| *lower != kind) {
                kept.iter_mut().for_each(|lower| remove(lower, &table));
                kinds.retain(|path, _| !inside(path, &table));
            }
            kinds.insert(table, kind);
        }
        kept.push(layer.clone());
    }
    for (layer, kept) in layers.iter_mut().zip(&kept) {
        for (path, entry) in &mut layer.entries {
            entry.replaced = !kept.entries.contains_key(path);
        }
    }
    let figment = kept.into_iter().fold(Figment::new(), Figment::merge);
    let values = figment.data().map(|mut profiles| profiles.remove(&Profile::Default));
    Value::from(values.ok().flatten().unwrap_or_default())
}

/// Each table that states its kind, outer ones first.
fn stated_kinds(values: &Dict) -> Vec<(String, String)> {
    fn walk(path: &str, values: &Dict, into: &mut Vec<(String, String)>) {
        for (name, value) in values {
            let Value::Dict(_, inner) = value else { continue };
            let path = join(path, name);
            if let Some(kind) = inner.get("kind").and_then(Value::as_str) {
                into.push((path.clone(), kind.to_string()));
            }
            walk(&path, inner, into);
        }
    }
    let mut found = Vec::new();
    walk("", values, &mut found);
    found
}

fn inside(path: &str, table: &str) -> bool {
    path.strip_prefix(table).is_some_and(|rest| rest.starts_with(['.', '[']))
}

fn remove(layer: &mut Layer, table: &str) {
    layer.entries.retain(|path, _| path != table && !inside(path, table));
    let mut dict = &mut layer.values;
    let mut names: Vec<&str> = table.split('.').collect();
    let last = names.pop();
    for name in names {
        match dict.get_mut(name) {
            Some(Value::Dict(_, inner)) => dict = inner,
            _ => return,
        }
    }
    last.map(|name| dict.remove(name));
}

/// A document being turned into a layer.
struct Source<'a> {
    file: &'a str,
    text: Arc<str>,
    layer: &'a str,
}

impl Source<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        Place { source: self.file.into(), text: self.text.clone(), span, layer: self.layer.into() }
    }

    fn table(
        &self,
        path: &str,
        table: &dyn TableLike,
        entries: &mut BTreeMap<String, Entry>,
    ) -> Dict {
        let mut dict = Dict::new();
        for (name, item) in table.iter() {
            let key = table.get_key_value(name).and_then(|(key, _)| key.span());
            let value = self.item(&join(path, name), key, item, entries);
            dict.insert(name.to_string(), value);
        }
        dict
    }

    fn item(
        &self,
        path: &str,
        key: Option<Range<usize>>,
        item: &Item,
        entries: &mut BTreeMap<String, Entry>,
    ) -> Value {
        let span = item.span().or(key.clone()).unwrap_or_default();
        let key = key.unwrap_or(span.clone());
        let leaf = !item.is_table_like() && !item.is_array_of_tables();
        let entry = Entry {
            place: self.place(if leaf || item.is_inline_table() { span } else { key.clone() }),
            key,
            value: leaf.then(|| item.to_string().trim().to_string()),
            replaced: false,
        };
        entries.insert(path.to_string(), entry);
        let mut element =
            |index: usize, item: &Item| self.item(&format!("{path}[{index}]"), None, item, entries);
        match item {
            Item::Value(toml_edit::Value::Array(array)) => {
                let values = array.iter().enumerate();
                values.map(|(i, v)| element(i, &Item::Value(v.clone()))).collect::<Vec<_>>().into()
            }
            Item::ArrayOfTables(tables) => {
                let tables = tables.iter().enumerate();
                tables.map(|(i, t)| element(i, &Item::Table(t.clone()))).collect::<Vec<_>>().into()
            }
            Item::Value(toml_edit::Value::InlineTable(table)) => {
                self.table(path, table, entries).into()
            }
            Item::Table(table) => self.table(path, table, entries).into(),
            Item::Value(value) => plain(value),
            Item::None => Dict::new().into(),
        }
    }
}

/// A TOML value without places.
pub fn plain(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => text.value().as_str().into(),
        toml_edit::Value::Integer(integer) => (*integer.value()).into(),
        toml_edit::Value::Float(float) => (*float.value()).into(),
        toml_edit::Value::Boolean(boolean) => (*boolean.value()).into(),
        // No key takes a date; as a string it is refused with its text.
        toml_edit::Value::Datetime(date) => date.value().to_string().into(),
        toml_edit::Value::Array(array) => array.iter().map(plain).collect::<Vec<_>>().into(),
        toml_edit::Value::InlineTable(table) => {
            let entries = table.iter().map(|(name, value)| (name.to_string(), plain(value)));
            entries.collect::<Dict>().into()
        }
    }
}

/// One document as a layer named `layer`.
#[expect(clippy::result_large_err, reason = "once for each source, and it is shown")]
pub fn parse(file: &str, text: &str, folder: &Path, layer: &str) -> Result<Layer, Diagnostic> {
    let source = Source { file, text: text.into(), layer };
    let document = Document::parse(text).map_err(|error| Diagnostic {
        message: format!("this is not TOML: {}", error.message().replace('\n', ", ")),
        help: None,
        key: String::new(),
        place: Some(source.place(error.span().unwrap_or(0..0))),
    })?;
    let mut entries = BTreeMap::new();
    let values = source.table("", document.as_table(), &mut entries);
    Ok(Layer { name: layer.into(), folder: folder.to_path_buf(), entries, values })
}

/// A document and the chain of its base files, lowest first.
pub fn with_bases(
    file: &Path,
    text: &str,
    folder: &Path,
    environment: &[(String, String)],
) -> Result<Vec<Layer>> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut chain = vec![identity(file)];
    let mut next = Some((file.to_path_buf(), text.to_string(), folder.to_path_buf()));
    while let Some((file, text, folder)) = next.take() {
        let name = if layers.is_empty() { "the experiment file" } else { "the base file" };
        let shown = file.display().to_string();
        let fail = |diagnostic| Diagnostics { file: shown.clone(), list: vec![diagnostic] };
        let mut layer = parse(&shown, &text, &folder, name).map_err(fail)?;
        if is_sweep(&layer) {
            let message = format!("{shown} is a sweep, not an experiment");
            return Err(Error::input(message).help(format!("start it with `run sweep {shown}`")));
        }
        let stated = layer.values.remove("base").zip(layer.entries.remove("base"));
        if let Some((value, entry)) = stated {
            let mistake = |message: String, help: Option<String>| {
                let place = Some(entry.place.clone());
                Error::from(fail(Diagnostic { message, help, key: "base".into(), place }))
            };
            let Some(base) = value.as_str() else {
                return Err(mistake("`base` must be the path of a file".into(), None));
            };
            let base = expand(base, environment).map_err(|variable| {
                mistake(format!("`base`: the variable {variable} is not defined"), None)
            })?;
            let base = super::field::clean(&folder.join(base));
            if chain.contains(&identity(&base)) {
                let message = format!("`base` comes back to {}", base.display());
                return Err(mistake(message, Some("remove one link of the chain".into())));
            }
            let text = read_file(&base).map_err(|error| match error {
                Error::Input { message, help } => mistake(format!("`base`: {message}"), help),
                other => other,
            })?;
            chain.push(identity(&base));
            let folder = base.parent().unwrap_or(Path::new("")).to_path_buf();
            next = Some((base, text, folder));
        }
        layers.push(layer);
    }
    layers.reverse();
    Ok(layers)
}

/// A base and axes over it: an experiment has none of these keys.
fn is_sweep(layer: &Layer) -> bool {
    let axes = ["grid", "zip", "random", "sobol", "tpe", "block", "seeds", "skip_if", "objective"];
    layer.values.contains_key("base") && axes.iter().any(|key| layer.values.contains_key(*key))
}

fn identity(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_path_buf())
}

/// The text of a configuration file; a missing one is answered with similar names beside it.
pub fn read_file(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|error| {
        if error.kind() != std::io::ErrorKind::NotFound {
            return Error::input(format!("cannot read {}: {error}", file.display()));
        }
        let missing = Error::input(format!("there is no file {}", file.display()));
        match similar_file(file) {
            Some(near) => missing.help(format!("did you mean {}?", near.display())),
            None => missing,
        }
    })
}

/// A TOML file beside `file` whose name is near.
fn similar_file(file: &Path) -> Option<PathBuf> {
    let folder = file.parent()?;
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names: Vec<String> = std::fs::read_dir(listed)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let wanted = file.file_name()?.to_str()?;
    let near = suggest(wanted, &names)
        .or_else(|| names.iter().copied().find(|name| *name == format!("{wanted}.toml")))?;
    Some(folder.join(near))
}
