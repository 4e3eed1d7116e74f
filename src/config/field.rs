//! Reading values: every type of the configuration knows how, and all mistakes are gathered.

use std::cell::RefCell;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use figment::value::Value;

use super::check::Check;
use super::diagnostic::Diagnostic;
use super::provenance::Provenance;
use super::shape::{FamilyInfo, Shape, TableInfo, join};
use super::text::{list, suggest};

/// A type that a key of the configuration can have.
pub trait Field: Sized {
    fn shape() -> Shape;

    /// The value at `at`; `value` is what the layers state, `default` what holds if they are
    /// silent. `None` means that at least one mistake was reported.
    fn read(value: Option<&Value>, default: Option<Self>, at: &Reader<'_>) -> Option<Self>;
}

/// What all readers of one load share.
pub struct Context<'a> {
    pub provenance: &'a Provenance,
    pub environment: &'a [(String, String)],
    /// `paths.datasets`, where data roots are looked up first.
    pub datasets: PathBuf,
    /// Full names of all keys, for "did you mean" across tables.
    pub keys: &'a [String],
    pub found: RefCell<Vec<Diagnostic>>,
}

/// A place in the configuration being read.
pub struct Reader<'a> {
    pub context: &'a Context<'a>,
    pub(super) key: String,
    kind: Option<&'static str>,
}

/// A table being read.
pub struct Fields<'a> {
    reader: &'a Reader<'a>,
    value: Option<&'a Value>,
}

impl<'a> Reader<'a> {
    /// The place of a full key; the root is the empty key.
    pub fn at(context: &'a Context<'a>, key: &str) -> Self {
        Reader { context, key: key.into(), kind: None }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn child(&self, name: &str) -> Reader<'a> {
        Reader { context: self.context, key: join(&self.key, name), kind: None }
    }

    pub(super) fn element(&self, index: usize) -> Reader<'a> {
        Reader { context: self.context, key: format!("{}[{index}]", self.key), kind: None }
    }

    /// The same place, inside a family's table of this kind.
    pub fn of_kind(&self, kind: &'static str) -> Reader<'a> {
        Reader { context: self.context, key: self.key.clone(), kind: Some(kind) }
    }

    /// Reports a mistake here.
    pub fn report(&self, message: impl Into<String>, help: Option<String>) {
        let diagnostic = self.context.provenance.error(&self.key, message, help.as_deref());
        self.context.found.borrow_mut().push(diagnostic);
    }

    pub(super) fn wrong_type<T>(&self, expected: &str, value: &Value) -> Option<T> {
        let found = describe(value);
        self.report(format!("`{}`: expected {expected}, found {found}", self.key), None);
        None
    }

    /// The fields of a table; reports keys that it does not have.
    pub fn table(
        &'a self,
        value: Option<&'a Value>,
        table: fn() -> TableInfo,
    ) -> Option<Fields<'a>> {
        let Some(value) = value else { return Some(Fields { reader: self, value: None }) };
        let Value::Dict(_, dict) = value else { return self.wrong_type("a table", value) };
        let table = TableInfo::of(table);
        for name in dict.keys().filter(|name| table.key(name).is_none()) {
            if name != "kind" || self.kind.is_none() {
                self.unknown(name, table);
            }
        }
        Some(Fields { reader: self, value: Some(value) })
    }

    fn unknown(&self, name: &str, table: &TableInfo) {
        let names = table.key_names();
        let message = match self.kind {
            Some(kind) => format!("`{}` of kind \"{kind}\" has no key `{name}`", self.key),
            None if self.key.is_empty() => format!("unknown key `{name}`"),
            None => format!("`{}` has no key `{name}`", self.key),
        };
        let suffix = format!(".{name}");
        let mut elsewhere = self.context.keys.iter().filter(|key| key.ends_with(&suffix));
        let help = if let Some(near) = suggest(name, &names) {
            format!("did you mean `{}`?", join(&self.key, near))
        } else if let Some(key) = elsewhere.next() {
            format!("did you mean `{key}`?")
        } else if names.is_empty() {
            "it has no keys".into()
        } else {
            format!("its keys: {}", names.join(", "))
        };
        let at = self.child(name);
        let mut diagnostic = self.context.provenance.error(&at.key, message, Some(&help));
        if let Some((_, entry)) = self.context.provenance.winner(&at.key)
            && let Some(place) = &mut diagnostic.place
        {
            place.span = entry.key.clone();
        }
        self.context.found.borrow_mut().push(diagnostic);
    }

    /// The kind that a family's table states.
    pub fn kind(
        &self,
        value: Option<&Value>,
        default: Option<&'static str>,
        family: fn() -> FamilyInfo,
    ) -> Option<&'static str> {
        let family = FamilyInfo::of(family);
        let names = family.kind_names();
        let dict = match value {
            Some(Value::Dict(_, dict)) => Some(dict),
            Some(Value::String(_, text)) => {
                let message = format!("`{}` is a table, not the string {text:?}", self.key);
                self.report(message, Some(format!("did you mean `{}.kind`?", self.key)));
                return None;
            }
            Some(other) => return self.wrong_type("a table with a `kind`", other),
            None => None,
        };
        let Some(stated) = dict.and_then(|dict| dict.get("kind")) else {
            if default.is_none() {
                let help = format!("the kinds of {}: {}", family.name, list(&names));
                self.report(format!("`{}` needs a `kind`", self.key), Some(help));
            }
            return default;
        };
        let at = self.child("kind");
        let text = String::read(Some(stated), None, &at)?;
        let found = family.kind(&text).map(|kind| kind.name);
        if found.is_none() {
            let message = format!("`{}`: there is no {} of kind \"{text}\"", at.key, family.name);
            at.report(message, Some(choices_help(&text, &names)));
        }
        found
    }

    /// One of a few strings.
    pub fn choice<T: Copy>(
        &self,
        value: Option<&Value>,
        default: Option<T>,
        all: &[T],
        name: fn(T) -> &'static str,
    ) -> Option<T> {
        let names: Vec<&str> = all.iter().map(|choice| name(*choice)).collect();
        let Some(value) = value else { return self.or_missing(default) };
        let Value::String(..) = value else {
            return self.wrong_type(&format!("one of {}", list(&names)), value);
        };
        let text = String::read(Some(value), None, self)?;
        let found = all.iter().copied().find(|choice| name(*choice) == text);
        if found.is_none() {
            let message = format!("`{}` cannot be \"{text}\"", self.key);
            self.report(message, Some(choices_help(&text, &names)));
        }
        found
    }

    pub(super) fn or_missing<T>(&self, default: Option<T>) -> Option<T> {
        if default.is_none() {
            self.report(format!("`{}` is missing", self.key), None);
        }
        default
    }

    /// The folder that relative paths of this key start from.
    pub(super) fn folder(&self) -> &Path {
        self.context.provenance.folder(&self.key)
    }
}

impl Fields<'_> {
    /// One field, checked; a default is checked too, so that what must be stated is.
    pub fn read<T: Field + Debug>(
        &self,
        name: &str,
        default: T,
        checks: Vec<Check<T>>,
    ) -> Option<T> {
        let at = self.reader.child(name);
        let stated = self.value.and_then(|v| v.as_dict()).and_then(|dict| dict.get(name));
        let value = T::read(stated, Some(default), &at)?;
        let broken: Vec<String> =
            checks.iter().filter_map(|check| check.test(&value).err()).collect();
        if broken.is_empty() {
            return Some(value);
        }
        let rules = broken.join(" and ");
        match stated {
            Some(_) => at.report(format!("`{}` is {value:?}, must be {rules}", at.key), None),
            None => at.report(format!("`{}` must be {rules}", at.key), None),
        }
        None
    }
}

fn choices_help(text: &str, names: &[&str]) -> String {
    match suggest(text, names) {
        Some(near) => format!("did you mean \"{near}\"? There are {}", list(names)),
        None => format!("there are {}", list(names)),
    }
}

/// A value as messages name it.
fn describe(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("the string {text:?}"),
        Value::Char(_, text) => format!("the string \"{text}\""),
        Value::Bool(_, value) => format!("the boolean {value}"),
        Value::Num(_, number) => match (number.to_i128(), number.to_f64()) {
            (Some(integer), _) => format!("the integer {integer}"),
            (None, Some(number)) => format!("the number {number:?}"),
            (None, None) => "a number".into(),
        },
        Value::Dict(..) => "a table".into(),
        Value::Array(..) => "a list".into(),
        Value::Empty(..) => "nothing".into(),
    }
}

/// Without `.` components: `/a/./b` reads as `/a/b`.
pub fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}
