//! What keys exist: the schema behind `run parts`, `run explain`, `--set` and did-you-mean.

use std::collections::HashMap;
use std::sync::{LazyLock, RwLock};

use super::Value;

/// The form of a value.
#[derive(Clone)]
pub enum Shape {
    /// A plain value; the text names its type: "number", "integer", "string", "path" ...
    Leaf(&'static str),
    /// One of these strings, with their documentation.
    Choice(Vec<(&'static str, String)>),
    /// Functions, so that a part may contain its own family (a loss that is a sum of losses).
    Table(fn() -> TableInfo),
    Family(fn() -> FamilyInfo),
    /// A table with names of the user's choice.
    Map(Box<Shape>),
    List(Box<Shape>),
}

/// A struct made by `config_struct!`.
pub trait Table {
    fn table() -> TableInfo;
}

/// An enum made by `config_family!`.
pub trait Family {
    fn family() -> FamilyInfo;
}

pub struct TableInfo {
    pub doc: String,
    pub keys: Vec<Key>,
}

pub struct Key {
    pub name: &'static str,
    pub doc: String,
    pub shape: Shape,
    pub default: toml::Value,
    /// Each completes "must be ...".
    pub rules: Vec<String>,
}

pub struct FamilyInfo {
    /// The family's table in the experiment file.
    pub name: &'static str,
    pub doc: String,
    pub kinds: Vec<Kind>,
}

pub struct Kind {
    pub name: &'static str,
    pub table: fn() -> TableInfo,
}

impl FamilyInfo {
    /// What `family` returns, made once: a sweep reads thousands of configurations.
    pub fn of(family: fn() -> FamilyInfo) -> &'static FamilyInfo {
        static FAMILIES: Made<FamilyInfo> = LazyLock::new(RwLock::default);
        made(&FAMILIES, family)
    }

    pub fn kind_names(&self) -> Vec<&'static str> {
        self.kinds.iter().map(|kind| kind.name).collect()
    }

    pub fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }
}

/// What functions returned, by the function's address. Two functions that the compiler merged
/// return the same, and one that it made twice is called twice: both do no harm.
type Made<T> = LazyLock<RwLock<HashMap<usize, &'static T>>>;

/// Leaks one value for each function, of which there are as many as tables in the program.
fn made<T>(known: &Made<T>, make: fn() -> T) -> &'static T {
    let address = make as usize;
    let read = known.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(known) = read.get(&address) {
        return known;
    }
    drop(read);
    let value: &'static T = Box::leak(Box::new(make()));
    let mut write = known.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    write.entry(address).or_insert(value)
}

impl TableInfo {
    /// What `table` returns, made once: its texts and defaults cost more than reading a table.
    pub fn of(table: fn() -> TableInfo) -> &'static TableInfo {
        static TABLES: Made<TableInfo> = LazyLock::new(RwLock::default);
        made(&TABLES, table)
    }

    pub fn key_names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }

    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Shape {
    /// The type as the user reads it.
    pub fn type_name(&self) -> String {
        match self {
            Shape::Leaf(name) => name.to_string(),
            Shape::Choice(choices) => {
                let names: Vec<String> =
                    choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                names.join(" | ")
            }
            Shape::Table(_) => "table".into(),
            Shape::Family(family) => format!("table with a {} kind", family().name),
            Shape::Map(of) => format!("tables by name, each: {}", of.type_name()),
            Shape::List(of) => format!("list of {}", of.type_name()),
        }
    }

    /// Whether a value is written as a string.
    pub fn is_text(&self) -> bool {
        matches!(self, Shape::Leaf("string" | "path") | Shape::Choice(_))
    }
}

/// A key of the schema under its full name, such as `loss.margin`.
pub struct FullKey {
    pub path: String,
    pub key: Key,
}

/// Every key that exists with the kinds that `value` chooses (or the defaults, where it is silent).
pub fn full_keys(
    shape: &Shape,
    value: Option<&Value>,
    default: Option<&toml::Value>,
) -> Vec<FullKey> {
    let mut keys = Vec::new();
    collect("", shape, value, default, &mut keys);
    keys
}

fn collect(
    path: &str,
    shape: &Shape,
    value: Option<&Value>,
    default: Option<&toml::Value>,
    into: &mut Vec<FullKey>,
) {
    let entry = |name: &str| value.and_then(|v| v.as_dict()).and_then(|dict| dict.get(name));
    let table = match shape {
        Shape::Table(table) => table(),
        Shape::Family(family) => {
            let family = family();
            into.push(FullKey { path: join(path, "kind"), key: kind_key(&family) });
            let stated = entry("kind").and_then(|kind| kind.as_str());
            let kind =
                stated.or_else(|| default.and_then(|d| d.get("kind")).and_then(|k| k.as_str()));
            match kind.and_then(|kind| family.kind(kind)) {
                Some(kind) => (kind.table)(),
                None => return,
            }
        }
        Shape::Map(of) => {
            for (name, entry) in value.and_then(|v| v.as_dict()).into_iter().flatten() {
                collect(&join(path, name), of, Some(entry), None, into);
            }
            return;
        }
        Shape::Leaf(_) | Shape::Choice(_) | Shape::List(_) => return,
    };
    for key in table.keys {
        let path = join(path, key.name);
        collect(&path, &key.shape, entry(key.name), Some(&key.default), into);
        into.push(FullKey { path, key });
    }
}

/// The full names of the keys of all kinds, each family entered once on a path.
pub fn any_keys(shape: &Shape) -> Vec<String> {
    fn collect(path: &str, shape: &Shape, open: &[&'static str], into: &mut Vec<String>) {
        let (tables, open) = match shape {
            Shape::Table(table) => (vec![table()], open.to_vec()),
            Shape::Family(family) => {
                let family = family();
                if open.contains(&family.name) {
                    return;
                }
                into.push(join(path, "kind"));
                let tables = family.kinds.iter().map(|kind| (kind.table)()).collect();
                (tables, [open, &[family.name]].concat())
            }
            _ => return,
        };
        for key in tables.into_iter().flat_map(|table| table.keys) {
            let path = join(path, key.name);
            collect(&path, &key.shape, &open, into);
            if !into.contains(&path) {
                into.push(path);
            }
        }
    }
    let mut keys = Vec::new();
    collect("", shape, &[], &mut keys);
    keys
}

/// The key `kind` itself, for listings.
pub fn kind_key(family: &FamilyInfo) -> Key {
    let choices = family.kinds.iter().map(|kind| {
        let doc = (kind.table)().doc;
        (kind.name, first_paragraph(&doc).to_string())
    });
    Key {
        name: "kind",
        doc: format!("Which {} it is; the other keys are that kind's.", family.name),
        shape: Shape::Choice(choices.collect()),
        default: toml::Value::String(String::new()),
        rules: Vec::new(),
    }
}

/// `a.b` from `a` and `b`.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

/// The text up to the first empty line.
pub fn first_paragraph(doc: &str) -> &str {
    doc.split("\n\n").next().unwrap_or(doc)
}

/// Doc comment lines as one text, without the space that follows `///`.
pub fn join_doc(lines: &[&str]) -> String {
    let lines: Vec<&str> =
        lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    lines.join("\n").trim_end().to_string()
}

/// A field's name as a key: `r#type` is `type`.
pub fn key_name(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// A default as TOML, for listings.
pub fn default_value<T: serde::Serialize>(default: &T) -> toml::Value {
    toml::Value::try_from(default).expect("defaults are values that TOML can hold")
}
