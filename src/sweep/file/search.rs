//! `[random]`, `[sobol]` and `[tpe]`: how many samples, and of which space.

use super::axes::{self, Leaf};
use super::tables::{Free, entry};
use super::{Method, Parameter, Search, Tpe};
use crate::config::{Context, Field, Reader, Value, join};
use crate::sweep::distribution::Distribution;
use serde_json::Value as Json;

crate::config_struct! {
    /// Samples drawn without regard to each other: raising `count` keeps the earlier ones.
    pub struct SamplesTable {
        /// How many.
        pub count: usize = 0, between(1, axes::LARGEST);
        /// Another seed gives other samples.
        pub seed: u64 = 0;
        /// The distribution of each key.
        pub space: Free = Free;
    }
}

crate::config_struct! {
    /// Samples proposed by the tree-structured Parzen estimator (Bergstra et al. 2011, "Algorithms
    /// for hyper-parameter optimization"), when the trial starts.
    pub struct TpeTable {
        /// How many.
        pub count: usize = 0, between(1, axes::LARGEST);
        /// Another seed gives other samples.
        pub seed: u64 = 0;
        /// Scored trials before which samples are random.
        pub startup: usize = 10;
        /// Share of the scored trials that counts as good.
        pub gamma: f64 = 0.1, between(0.01, 0.5);
        /// Values drawn for each proposal, of which the most promising is taken.
        pub candidates: usize = 24, between(1, 10_000);
        /// The distribution of each key.
        pub space: Free = Free;
    }
}

/// The search of a block, of which there is one at most.
pub fn read(context: &Context<'_>, block: &Value, path: &str) -> Option<Option<Search>> {
    let kinds = ["random", "sobol", "tpe"];
    let stated: Vec<(&str, &Value)> =
        kinds.into_iter().filter_map(|kind| Some((kind, entry(block, kind)?))).collect();
    if let [(first, _), (second, _), ..] = stated[..] {
        let help = "give each a [[block]] of its own".to_string();
        let message = format!("`{first}` and `{second}` can't be combined");
        Reader::at(context, &join(path, second)).report(message, Some(help));
        return None;
    }
    let Some((kind, table)) = stated.first().copied() else { return Some(None) };
    let path = join(path, kind);
    let at = Reader::at(context, &path);
    let head = match kind {
        "tpe" => TpeTable::read(Some(table), None, &at).map(|table| {
            let TpeTable { count, seed, startup, gamma, candidates, space: Free } = table;
            (Method::Tpe(Tpe { startup, gamma, candidates }), count, seed)
        }),
        _ => SamplesTable::read(Some(table), None, &at).map(|table| {
            let SamplesTable { count, seed, space: Free } = table;
            let method = if kind == "sobol" { Method::Sobol } else { Method::Random };
            (method, count, seed)
        }),
    };
    let space = match entry(table, "space") {
        Some(space) => parameters(context, space, &join(&path, "space")),
        None => {
            let help =
                format!("write [{path}.space] with optimizer.lr = {{ uniform = [0.01, 0.1] }}");
            at.report(format!("`{path}` has no `space`"), Some(help));
            None
        }
    };
    let (method, count, seed) = head?;
    Some(Some(Search { method, count, seed, space: space? }))
}

const DISTRIBUTIONS: [&str; 5] = ["uniform", "log_uniform", "int", "choice", "normal"];
const KEYS: [&str; 10] =
    ["uniform", "log_uniform", "int", "choice", "normal", "step", "log", "min", "max", "when"];

fn parameters(context: &Context<'_>, space: &Value, path: &str) -> Option<Vec<Parameter>> {
    // A table of which a part is no table states a distribution, or is meant to.
    let spec = |value: &Value| {
        let inner = value.as_dict().into_iter().flatten();
        inner.clone().any(|(_, value)| value.as_dict().is_none()) || inner.count() == 0
    };
    let leaves = axes::leaves(context, space, path, spec)?;
    if leaves.is_empty() {
        Reader::at(context, path).report(format!("`{path}` is empty"), None);
        return None;
    }
    let read: Vec<Option<Parameter>> = leaves.iter().map(|leaf| parameter(context, leaf)).collect();
    read.into_iter().collect()
}

fn parameter(context: &Context<'_>, leaf: &Leaf<'_>) -> Option<Parameter> {
    let path = &leaf.path;
    let at = Reader::at(context, path);
    let refuse = |message: String| {
        let help = format!(
            "write {} = {{ uniform = [0.2, 0.6] }}; there are {}",
            leaf.key,
            DISTRIBUTIONS.join(", ")
        );
        at.report(format!("`{path}`: {message}"), Some(help));
    };
    if leaf.value.as_dict().is_none() {
        refuse("a distribution is a table".into());
        return None;
    }
    axes::no_others(context, leaf.value, path, &KEYS)?;
    let stated: Vec<&str> =
        DISTRIBUTIONS.into_iter().filter(|name| entry(leaf.value, name).is_some()).collect();
    let [name] = stated[..] else {
        refuse(format!("needs one distribution, found {}", stated.len()));
        return None;
    };
    let modifiers: &[&str] = match name {
        "int" => &["step", "log"],
        "normal" => &["min", "max"],
        _ => &[],
    };
    for other in ["step", "log", "min", "max"] {
        if entry(leaf.value, other).is_some() && !modifiers.contains(&other) {
            refuse(format!("`{other}` does not go with `{name}`"));
            return None;
        }
    }
    let when = axes::when(context, leaf.value, path);
    let distribution = distribution(context, leaf.value, path, name)?;
    let place = axes::key_place(context, path);
    Some(Parameter { key: leaf.key.clone(), distribution, when: when?, place })
}

fn distribution(
    context: &Context<'_>,
    table: &Value,
    path: &str,
    name: &str,
) -> Option<Distribution> {
    let stated = entry(table, name);
    let bounds_path = join(path, name);
    let at = Reader::at(context, &bounds_path);
    let refuse = |message: &str| {
        at.report(format!("`{bounds_path}` {message}"), None);
        None
    };
    let number = |name: &str| match entry(table, name) {
        None => Some(None),
        value => f64::read(value, None, &Reader::at(context, &join(path, name))).map(Some),
    };
    if name == "choice" {
        let Some(Value::Array(_, values)) = stated else { return refuse("must be a list") };
        if values.is_empty() {
            return refuse("is a choice of nothing");
        }
        let values = values.iter().enumerate();
        let values: Vec<Option<Json>> = values
            .map(|(i, value)| axes::json(context, value, &format!("{bounds_path}[{i}]")))
            .collect();
        return Some(Distribution::Choice(values.into_iter().collect::<Option<_>>()?));
    }
    if name == "int" {
        let bounds = Vec::<i64>::read(stated, None, &at)?;
        let [low, high] = bounds[..] else { return refuse("must be [low, high]") };
        if low > high {
            return refuse(&format!("has a low of {low} above its high of {high}"));
        }
        let log = match entry(table, "log") {
            None => false,
            log => bool::read(log, None, &Reader::at(context, &join(path, "log")))?,
        };
        let step = match entry(table, "step") {
            None => 1,
            step => i64::read(step, None, &Reader::at(context, &join(path, "step")))?,
        };
        if step < 1 {
            return refuse(&format!("has a step of {step}, must be at least 1"));
        }
        return match log {
            true if step != 1 => refuse("takes `step` or `log`, not both"),
            true if low < 1 => {
                refuse(&format!("has a low of {low}, whose logarithm does not exist"))
            }
            true => Some(Distribution::LogInt { low, high }),
            false => Some(Distribution::Int { low, high, step }),
        };
    }
    let pair = Vec::<f64>::read(stated, None, &at)?;
    let [first, second] = pair[..] else {
        return refuse(if name == "normal" {
            "must be [mean, std]"
        } else {
            "must be [low, high]"
        });
    };
    if name == "normal" {
        let (min, max) = (number("min")?, number("max")?);
        if second <= 0.0 {
            return refuse(&format!(
                "has a standard deviation of {second}, must be greater than 0"
            ));
        }
        if min.zip(max).is_some_and(|(min, max)| min >= max) {
            return refuse("has a `min` that is not below its `max`");
        }
        return Some(Distribution::Normal { mean: first, std: second, min, max });
    }
    if first >= second {
        return refuse(&format!("has a low of {first} that is not below its high of {second}"));
    }
    if name == "uniform" {
        return Some(Distribution::Uniform { low: first, high: second });
    }
    if first <= 0.0 {
        return refuse(&format!("has a low of {first}, whose logarithm does not exist"));
    }
    Some(Distribution::LogUniform { low: first, high: second })
}
