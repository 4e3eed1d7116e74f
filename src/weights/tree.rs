//! Finding the state dict among what a checkpoint holds beside it.

use super::format::{Fault, convert};
use super::pickle::{Known, Machine, Value};
use std::collections::HashMap;

/// Keys under which trainers keep the weights, the likelier first.
const WRAPPERS: [&str; 14] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "backbone",
    "module",
    "encoder",
    "weights",
    "params",
    "generator",
    "student",
    "teacher",
];

/// A state dict lies no deeper.
const DEEPEST: usize = 4;

/// Modules of a TorchScript archive that are walked; one may stand in several places.
const MOST_MODULES: usize = 1 << 20;
const DEEPEST_MODULE: usize = 64;

/// The state dict in a pickle.
#[derive(Debug, Default)]
pub struct Selected {
    /// Keys that lead to it.
    pub nesting: Vec<String>,
    /// Names and places in [`Machine::tensors`], in the file's order.
    pub tensors: Vec<(String, u32)>,
    /// Names in it of what is no tensor.
    pub skipped: Vec<String>,
    /// Other state dicts: key and tensors.
    pub others: Vec<(String, usize)>,
}

/// Finds the state dict.
///
/// # Errors
/// There is none, there are several, or an object stands where it should be or in it.
pub fn select(machine: &Machine, root: Value) -> Result<Selected, Fault> {
    if known(machine, root) == Some(Known::Script) {
        return script(machine, root);
    }
    let mut selected = Selected::default();
    let mut here = root;
    loop {
        let Some(entries) = entries(machine, here) else {
            return Err(no_dict(machine, here, &selected.nesting));
        };
        if selected.nesting.len() > DEEPEST {
            return Err(Fault::new(format!(
                "holds dicts nested too deep{}",
                under(&selected.nesting)
            )));
        }
        let holders: Vec<(&str, Value)> =
            entries.iter().filter(|(_, value)| holds(machine, *value, DEEPEST)).copied().collect();
        let wrapped = WRAPPERS.iter().find_map(|name| holders.iter().find(|(key, _)| key == name));
        let direct = entries.iter().any(|(_, value)| matches!(value, Value::Tensor(_)));
        let next = match (wrapped, holders.as_slice()) {
            (Some(wrapped), _) => *wrapped,
            _ if direct => {
                collect(machine, &entries, &mut selected)?;
                return Ok(selected);
            }
            (None, [only]) => *only,
            (None, []) => return Err(nothing(machine, &entries, &selected.nesting)),
            (None, several) => {
                let several: Vec<String> =
                    several.iter().take(8).map(|(key, _)| format!("`{key}`")).collect();
                let what = format!("holds several state dicts: {}", several.join(", "));
                let help = "save the one that is meant, in Python: torch.save(torch.load(FILE)[KEY], \
                            NEW)";
                return Err(Fault::new(what).help(help));
            }
        };
        let others = holders.iter().filter(|(key, _)| *key != next.0);
        selected
            .others
            .extend(others.map(|(key, value)| (key.to_string(), direct_tensors(machine, *value))));
        selected.nesting.push(next.0.to_owned());
        here = next.1;
    }
}

/// The entries of a dict that have names, in order; of equal names the last counts.
fn entries(machine: &Machine, value: Value) -> Option<Vec<(&str, Value)>> {
    let Value::Dict(dict) = value else { return None };
    let mut entries: Vec<(&str, Value)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (key, value) in &machine.dicts[dict as usize] {
        let Some(key) = machine.as_text(*key) else { continue };
        match places.get(key) {
            Some(place) => entries[*place].1 = *value,
            None => {
                places.insert(key, entries.len());
                entries.push((key, *value));
            }
        }
    }
    Some(entries)
}

fn direct_tensors(machine: &Machine, value: Value) -> usize {
    let entries = entries(machine, value).unwrap_or_default();
    entries.iter().filter(|(_, value)| matches!(value, Value::Tensor(_))).count()
}

/// Whether it is a dict of tensors, or wraps one.
fn holds(machine: &Machine, value: Value, depth: usize) -> bool {
    let Some(entries) = entries(machine, value) else { return false };
    entries.iter().any(|(key, value)| match value {
        Value::Tensor(_) => true,
        Value::Dict(_) if depth > 1 && WRAPPERS.contains(key) => holds(machine, *value, depth - 1),
        _ => false,
    })
}

fn known(machine: &Machine, value: Value) -> Option<Known> {
    let name = match value {
        Value::Name(name) => name,
        Value::Object(object) => machine.objects[object as usize].class,
        _ => return None,
    };
    Some(machine.names[name as usize].known)
}

fn collect(
    machine: &Machine,
    entries: &[(&str, Value)],
    selected: &mut Selected,
) -> Result<(), Fault> {
    for (key, value) in entries {
        match value {
            Value::Tensor(tensor) => selected.tensors.push(((*key).to_owned(), *tensor)),
            Value::Object(_) | Value::Name(_)
                if !matches!(known(machine, *value), Some(Known::Dtype(_))) =>
            {
                let what = machine.describe(*value);
                let what = format!("holds {what} among its weights, as `{}`", key.escape_debug());
                return Err(Fault::new(what).help(convert(Known::Other)));
            }
            _ => selected.skipped.push((*key).to_owned()),
        }
    }
    Ok(())
}

/// ` under a.b`, or nothing.
fn under(nesting: &[String]) -> String {
    match nesting {
        [] => String::new(),
        nesting => format!(" under `{}`", nesting.join(".").escape_debug()),
    }
}

fn no_dict(machine: &Machine, value: Value, nesting: &[String]) -> Fault {
    let what = format!("holds {}{}, not a state dict", machine.describe(value), under(nesting));
    Fault::new(what).help(convert(known(machine, value).unwrap_or(Known::Other)))
}

/// A dict without a tensor: names the object that stands where a state dict is looked for.
fn nothing(machine: &Machine, entries: &[(&str, Value)], nesting: &[String]) -> Fault {
    let is_object = |value: &Value| matches!(value, Value::Object(_));
    let wrapped = entries.iter().find(|(key, value)| WRAPPERS.contains(key) && is_object(value));
    let object = wrapped.or_else(|| entries.iter().find(|(_, value)| is_object(value)));
    if let Some((key, value)) = object {
        let what = machine.describe(*value);
        let what =
            format!("holds no state dict{}; `{}` is {what}", under(nesting), key.escape_debug());
        return Fault::new(what).help(convert(Known::Other));
    }
    let keys: Vec<String> = entries.iter().take(5).map(|(key, _)| format!("`{key}`")).collect();
    let what = match keys.as_slice() {
        [] => format!("holds an empty dict{}", under(nesting)),
        keys => format!("holds no tensors{}, only {}", under(nesting), keys.join(", ")),
    };
    Fault::new(what).help("state a file of weights")
}

/// The tensors that the modules of a TorchScript archive have as attributes, by their state dict's
/// names.
fn script(machine: &Machine, root: Value) -> Result<Selected, Fault> {
    let mut selected = Selected::default();
    let mut left = MOST_MODULES;
    // The last is walked first, so attributes are put on in reverse.
    let mut open = vec![(String::new(), root, 0)];
    while let Some((name, value, depth)) = open.pop() {
        match value {
            Value::Tensor(tensor) => selected.tensors.push((name, tensor)),
            Value::Object(object) if known(machine, value) == Some(Known::Script) => {
                left -= 1;
                if left == 0 || depth == DEEPEST_MODULE {
                    return Err(Fault::new("is a TorchScript archive of too many modules"));
                }
                let state = machine.objects[object as usize].state.unwrap_or(Value::None);
                let attributes = entries(machine, state).unwrap_or_default();
                for (key, value) in attributes.into_iter().rev() {
                    let joined = if name.is_empty() { key.into() } else { format!("{name}.{key}") };
                    open.push((joined, value, depth + 1));
                }
            }
            _ => {}
        }
    }
    match selected.tensors.is_empty() {
        true => Err(Fault::new(
            "is a TorchScript archive without named weights: they are constants of its code",
        )
        .help("use the state dict or the .safetensors that it was made of")),
        false => Ok(selected),
    }
}
