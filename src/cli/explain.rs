//! `run explain KEY FILE`: which layer gave a key its value.

use crate::config::{Field, Key, Layer, Loaded, Provenance, Shape, Value, join, resolve};
use crate::{Error, Result};

/// Every layer that states `key` (full, or a unique last part), the one that holds marked.
pub fn explain<R: Field>(loaded: &Loaded<R>, key: &str) -> Result<String> {
    let provenance = &loaded.provenance;
    let (path, key) =
        resolve(&R::shape(), &provenance.merged, key).map_err(|(message, help)| {
            let error = Error::input(message);
            match help {
                Some(help) => error.help(help),
                None => error,
            }
        })?;
    named::<R>(&provenance.merged, &path)?;
    let mut out = format!("{path}\n");
    for line in key.doc.lines() {
        out.push_str(&format!("  {line}\n"));
    }
    out.push_str(&format!("  type: {}\n", key.shape.type_name()));
    if let Some(default) = shown_default(&key) {
        out.push_str(&format!("  default: {default}\n"));
    }
    if !key.rules.is_empty() {
        out.push_str(&format!("  must be: {}\n", key.rules.join(", and ")));
    }
    out.push('\n');
    let stated: Vec<[String; 4]> =
        (provenance.layers.iter()).flat_map(|layer| rows(provenance, layer, &path)).collect();
    if stated.is_empty() {
        out.push_str("-> no layer states it, so the default holds\n");
        return Ok(out);
    }
    let width = |column: usize| {
        stated.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let (key_width, value_width, layer_width) = (width(0), width(1), width(2));
    for [key, value, layer, place] in stated {
        let line = format!("{key:key_width$}  {value:value_width$}  {layer:layer_width$}  {place}");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    Ok(out)
}

/// # Errors
/// Where `path` leads through a table of the user's own names, such as `groups.rules`, and by a name
/// that no layer states: nothing of that name has defaults either.
fn named<R: Field>(merged: &Value, path: &str) -> Result<()> {
    let mut table = Some(merged);
    let mut parent = String::new();
    for name in path.split('.') {
        let inside = table.and_then(|value| value.as_dict());
        let found = inside.and_then(|dict| dict.get(name));
        let by_name = resolve(&R::shape(), merged, &parent)
            .is_ok_and(|(full, key)| full == parent && matches!(key.shape, Shape::Map(_)));
        if by_name && found.is_none() {
            let names: Vec<&str> = inside.into_iter().flatten().map(|(k, _)| k.as_str()).collect();
            let help = match names.as_slice() {
                [] => format!("nothing is stated in `{parent}`"),
                names => format!("`{parent}` has {}", names.join(", ")),
            };
            return Err(Error::input(format!("there is no `{}`", join(&parent, name))).help(help));
        }
        parent = join(&parent, name);
        table = found;
    }
    Ok(())
}

/// What `layer` states about a key, or about the keys inside a table.
fn rows(provenance: &Provenance, layer: &Layer, path: &str) -> Vec<[String; 4]> {
    let inside = join(path, "");
    let own = layer.entries.iter().filter(|(key, _)| *key == path || key.starts_with(&inside));
    own.filter_map(|(key, entry)| {
        let wins = provenance.winner(key).is_some_and(|(winner, _)| {
            winner.name == layer.name && winner.entries[key].place.source == entry.place.source
        });
        let mark = if wins { "->" } else { "  " };
        let replaced = if entry.replaced { " (replaced by another kind)" } else { "" };
        let place = format!("{}{replaced}", entry.place.position());
        Some([format!("{mark} {key}"), entry.value.clone()?, layer.name.clone(), place])
    })
    .collect()
}

/// A default as the user would write it; a table's keys have their own.
pub fn shown_default(key: &Key) -> Option<String> {
    match &key.default {
        toml::Value::Table(_) => None,
        toml::Value::String(text) if text.is_empty() => None,
        default => Some(default.to_string()),
    }
}
