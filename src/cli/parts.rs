//! `run parts [FAMILY]`: what an experiment can be made of.

use super::explain::shown_default;
use crate::config::{FamilyInfo, Key, Shape, first_paragraph, suggest};
use crate::{Error, Result};

/// The kinds of every family, each with the first paragraph of its documentation.
pub fn overview(families: &[FamilyInfo]) -> String {
    let blocks = families.iter().map(|family| {
        let width = family.kinds.iter().map(|kind| kind.name.len()).max().unwrap_or_default();
        let mut out = format!("{}: {}\n", family.name, one_line(&family.doc));
        for kind in &family.kinds {
            let doc = one_line(&(kind.table)().doc);
            out.push_str(format!("  {:width$}  {doc}", kind.name).trim_end());
            out.push('\n');
        }
        out
    });
    blocks.collect::<Vec<_>>().join("\n")
}

/// Every kind of one family with its keys.
pub fn family(families: &[FamilyInfo], name: &str) -> Result<String> {
    let Some(family) = families.iter().find(|family| family.name == name) else {
        let names: Vec<&str> = families.iter().map(|family| family.name).collect();
        let help = match suggest(name, &names) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", names.join(", ")),
        };
        return Err(Error::input(format!("there is no family of parts named {name}")).help(help));
    };
    let mut out = format!("{}\n", family.doc);
    for kind in &family.kinds {
        // The sets of an evaluation have names of the user's choice.
        let table = if family.name == "evaluate.sets" { "evaluate.sets.NAME" } else { family.name };
        out.push_str(&format!("\n[{table}]\nkind = \"{}\"\n", kind.name));
        let table = (kind.table)();
        indent(&mut out, &table.doc, 1);
        keys(&mut out, "", &table.keys);
    }
    Ok(out)
}

/// Keys with type, default, constraint and documentation; those of inner tables in full.
fn keys(out: &mut String, path: &str, keys: &[Key]) {
    for key in keys {
        let path = crate::config::join(path, key.name);
        if let Shape::Table(table) = key.shape {
            self::keys(out, &path, &table().keys);
            continue;
        }
        let default = shown_default(key).map(|default| format!(" = {default}")).unwrap_or_default();
        let rules: Vec<String> = key.rules.iter().map(|rule| format!("; {rule}")).collect();
        let kind = key.shape.type_name();
        out.push_str(&format!("\n  {path}{default}    ({kind}{})\n", rules.concat()));
        indent(out, &key.doc, 2);
    }
}

fn indent(out: &mut String, text: &str, level: usize) {
    for line in text.lines() {
        out.push_str(format!("{}{line}", "  ".repeat(level)).trim_end());
        out.push('\n');
    }
}

fn one_line(doc: &str) -> String {
    first_paragraph(doc).replace('\n', " ")
}
