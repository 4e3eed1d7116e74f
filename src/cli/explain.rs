//! `run explain KEY FILE`: which layer gave a key its value.

use crate::config::{Field, Key, Layer, Loaded, Provenance, join, resolve};
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
