//! Conditions of a sweep file, `when` and `skip_if`: expressions in CEL (the Common Expression
//! Language) over a trial's configuration.
//!
//! Every number is a float here, so that `train.epochs == 3.0` and `optimizer.lr > 1` mean what
//! they say. A key that the trial's kinds do not have makes the whole condition false, unless the
//! other side of `||` holds.

use crate::config::{Experiment, Field, Place, Shape, any_keys, suggest};
use cel::common::ast::operators;
use cel::common::ast::{EntryExpr, Expr, LiteralValue};
use cel::{Context, ExecutionError, IdedExpr, Program, Value};
use serde_json::Value as Json;
use std::collections::HashMap;

/// A parsed condition.
#[derive(Clone, Debug)]
pub struct Condition {
    pub text: String,
    /// Where the sweep file states it.
    pub place: Place,
    expression: IdedExpr,
    /// Full keys that it names, parts in order.
    keys: Vec<Vec<String>>,
}

/// What conditions are evaluated with; made once for many evaluations.
pub struct Evaluator(Context<'static, 'static>);

impl Default for Evaluator {
    fn default() -> Self {
        let mut context = Context::default();
        // CEL's `%` is for integers alone, and here all numbers are floats.
        let added = context.add_function(MODULO, |a: f64, b: f64| -> f64 { a % b });
        added.expect("CEL's library has no function of this name");
        Evaluator(context)
    }
}

const MODULO: &str = "modulo";

impl Condition {
    /// Parses a condition and looks up the keys that it names; `Err` is a message and a help.
    pub fn parse(text: &str, place: Place) -> Result<Condition, (String, Option<String>)> {
        let program = Program::compile(text).map_err(|errors| {
            let why = errors.errors.first().map(|error| error.msg.clone()).unwrap_or_default();
            let help = "write it as in 'optimizer.lr > 0.05 && loss.kind == \"arcface\"'";
            (format!("{text:?} is no condition: {why}"), Some(help.to_string()))
        })?;
        let mut keys = Vec::new();
        let mut expression = program.expression().clone();
        collect(&expression, &mut Vec::new(), &mut keys);
        for function in program.references().functions() {
            if !known_function(function) {
                let help = format!("the functions: {}", FUNCTIONS.join(", "));
                return Err((format!("{text:?}: there is no function `{function}`"), Some(help)));
            }
        }
        let shape = Experiment::shape();
        let all = any_keys(&shape);
        for key in &keys {
            let path = key.join(".");
            if !is_key(&path, &all, &shape) {
                let help = near(&path, &all).map(|near| format!("did you mean `{near}`?"));
                return Err((format!("{text:?}: there is no key `{path}`"), help));
            }
        }
        floats(&mut expression);
        Ok(Condition { text: text.into(), place, expression, keys })
    }

    /// Full keys that it names.
    pub fn keys(&self) -> impl Iterator<Item = String> + '_ {
        self.keys.iter().map(|key| key.join("."))
    }

    /// Whether it holds; `value` gives what a full key (its parts) is, `None` where the trial has
    /// no such key.
    ///
    /// # Errors
    /// A message: an operation on values that it is not for, or a result that is no boolean.
    pub fn holds<'a>(
        &self,
        evaluator: &Evaluator,
        value: impl Fn(&[String]) -> Option<&'a Json>,
    ) -> Result<bool, String> {
        let mut roots = Json::Object(Default::default());
        for key in &self.keys {
            // A table that another key goes through would hide that one: tables come first.
            if let Some(value) = value(key) {
                insert(&mut roots, key, value);
            }
        }
        let mut scope = evaluator.0.new_inner_scope();
        for (name, value) in roots.as_object().into_iter().flatten() {
            scope.add_variable_from_value(name.as_str(), cel_value(value));
        }
        match Value::resolve(&self.expression, &scope) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err(format!("{:?} is neither true nor false", self.text)),
            Err(ExecutionError::NoSuchKey(_) | ExecutionError::UndeclaredReference(_)) => Ok(false),
            // `a && b` reports the wrong operand instead of the missing key.
            Err(_) if self.keys.iter().any(|key| value(key).is_none()) => Ok(false),
            Err(error) => Err(format!("{:?}: {error}", self.text)),
        }
    }
}

fn insert(into: &mut Json, key: &[String], value: &Json) {
    let Some((name, rest)) = key.split_first() else {
        *into = value.clone();
        return;
    };
    if !into.is_object() {
        *into = Json::Object(Default::default());
    }
    if let Some(table) = into.as_object_mut() {
        insert(table.entry(name.as_str()).or_insert(Json::Null), rest, value);
    }
}

fn cel_value(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Value::String(text.clone().into()),
        Json::Array(values) => Value::List(values.iter().map(cel_value).collect::<Vec<_>>().into()),
        Json::Object(table) => {
            let entries = table.iter().map(|(name, value)| (name.clone(), cel_value(value)));
            Value::Map(entries.collect::<HashMap<String, Value>>().into())
        }
    }
}

/// The chain of names that an expression is, such as `loss.kind`.
fn chain(expression: &IdedExpr) -> Option<Vec<String>> {
    match &expression.expr {
        Expr::Ident(name) => Some(vec![name.clone()]),
        Expr::Select(select) => {
            let mut parts = chain(&select.operand)?;
            parts.push(select.field.clone());
            Some(parts)
        }
        _ => None,
    }
}

/// The keys that an expression names; `bound` are the variables of `all`, `exists` and so on.
fn collect(expression: &IdedExpr, bound: &mut Vec<String>, keys: &mut Vec<Vec<String>>) {
    if let Some(parts) = chain(expression) {
        if !bound.contains(&parts[0]) && !parts[0].starts_with('@') && !keys.contains(&parts) {
            keys.push(parts);
        }
        return;
    }
    match &expression.expr {
        Expr::Call(call) => {
            call.target.iter().for_each(|target| collect(target, bound, keys));
            call.args.iter().for_each(|argument| collect(argument, bound, keys));
        }
        Expr::Comprehension(comprehension) => {
            collect(&comprehension.iter_range, bound, keys);
            let before = bound.len();
            bound.push(comprehension.iter_var.clone());
            bound.push(comprehension.accu_var.clone());
            bound.extend(comprehension.iter_var2.clone());
            collect(&comprehension.accu_init, bound, keys);
            collect(&comprehension.loop_cond, bound, keys);
            collect(&comprehension.loop_step, bound, keys);
            collect(&comprehension.result, bound, keys);
            bound.truncate(before);
        }
        Expr::List(list) => list.elements.iter().for_each(|e| collect(e, bound, keys)),
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    collect(&entry.key, bound, keys);
                    collect(&entry.value, bound, keys);
                }
            }
        }
        Expr::Select(select) => collect(&select.operand, bound, keys),
        _ => {}
    }
}

/// Integers become floats, `%` and `size` follow; an index stays an integer.
fn floats(expression: &mut IdedExpr) {
    match &mut expression.expr {
        Expr::Literal(literal) => {
            let number = match literal {
                LiteralValue::Int(integer) => *integer.inner() as f64,
                LiteralValue::UInt(integer) => *integer.inner() as f64,
                _ => return,
            };
            *literal = LiteralValue::Double(number.into());
        }
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| floats(target));
            let index = call.func_name == operators::INDEX;
            let floated = if index { 1 } else { call.args.len() };
            call.args.iter_mut().take(floated).for_each(floats);
            if call.func_name == operators::MODULO {
                call.func_name = MODULO.into();
            } else if ["size", "int"].contains(&call.func_name.as_str()) {
                let inner = std::mem::take(expression);
                let call = cel::common::ast::CallExpr {
                    func_name: "double".into(),
                    target: None,
                    args: vec![inner],
                };
                expression.expr = Expr::Call(call);
            }
        }
        Expr::Comprehension(comprehension) => {
            floats(&mut comprehension.iter_range);
            floats(&mut comprehension.loop_step);
            floats(&mut comprehension.result);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(floats),
        Expr::Select(select) => floats(&mut select.operand),
        _ => {}
    }
}

const FUNCTIONS: &[&str] = &[
    "has",
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "all",
    "exists",
    "double",
    "int",
    "string",
];

fn known_function(name: &str) -> bool {
    let operator = |c: char| "_!@-<>=".contains(c);
    name.starts_with(operator) || FUNCTIONS.contains(&name)
}

fn is_key(path: &str, all: &[String], shape: &Shape) -> bool {
    if all.iter().any(|key| key == path) {
        return true;
    }
    // In a table of the user's own names, such as evaluate.sets, any name may stand.
    inside_map(path, shape)
}

fn inside_map(path: &str, shape: &Shape) -> bool {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    match (shape, rest) {
        (Shape::Map(_), _) => true,
        (Shape::Table(table), Some(rest)) => {
            let table = crate::config::TableInfo::of(*table);
            table.key(name).is_some_and(|key| inside_map(rest, &key.shape))
        }
        (Shape::Family(family), Some(_)) => {
            let family = crate::config::FamilyInfo::of(*family);
            family.kinds.iter().any(|kind| inside_map(path, &Shape::Table(kind.table)))
        }
        _ => false,
    }
}

/// The key that was probably meant: a last part that stands alone, or a slip of the pen.
pub fn near(path: &str, all: &[String]) -> Option<String> {
    let suffix = format!(".{path}");
    let ending = all.iter().filter(|key| key.ends_with(&suffix));
    let shallowest = ending.min_by_key(|key| key.matches('.').count());
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    shallowest.cloned().or_else(|| suggest(path, &names).map(String::from)).or_else(|| {
        let lasts: Vec<&str> =
            names.iter().map(|key| key.rsplit('.').next().unwrap_or(key)).collect();
        let last = suggest(path.rsplit('.').next()?, &lasts)?;
        let shallow = names.iter().filter(|key| key.rsplit('.').next() == Some(last));
        shallow.min_by_key(|key| key.matches('.').count()).map(|key| key.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn place() -> Place {
        Place { source: "x".into(), text: "".into(), span: 0..0, layer: "x".into() }
    }

    fn holds(text: &str) -> Result<bool, String> {
        let condition = Condition::parse(text, place()).map_err(|(message, _)| message)?;
        let values = json!({
            "optimizer": {"lr": 0.1}, "train": {"batch_size": 64, "epochs": 3},
            "loss": {"kind": "arcface", "margin": 0.5}, "backbone": {"channels": [16, 32]},
        });
        condition.holds(&Evaluator::default(), |key| {
            key.iter().try_fold(&values, |value, name| value.get(name))
        })
    }

    #[test]
    fn numbers_compare_freely() {
        for text in [
            "optimizer.lr > 0.05 && train.batch_size < 65",
            "train.epochs == 3.0",
            "train.epochs == 3 && optimizer.lr < 1",
            "train.batch_size * optimizer.lr > 6",
            "train.batch_size % 32 == 0",
            "loss.kind in ['arcface', \"cosface\"]",
            "train.epochs in [1, 2, 3]",
            "!(loss.margin < 0.5)",
            "backbone.channels[0] == 16 && size(backbone.channels) == 2",
            "backbone.channels.exists(c, c > 20)",
            "loss.kind.startsWith('arc') ? train.epochs == 3 : false",
        ] {
            assert_eq!(holds(text), Ok(true), "{text}");
        }
        assert_eq!(holds("train.epochs > 3"), Ok(false));
    }

    #[test]
    fn a_key_of_another_kind_makes_it_false() {
        for text in ["loss.h > 0.1", "!(loss.h > 0.1)", "loss.h > 0.1 && train.epochs == 3"] {
            assert_eq!(holds(text), Ok(false), "{text}");
        }
        assert_eq!(holds("has(loss.margin) && !has(loss.h)"), Ok(true));
        assert_eq!(holds("loss.h > 0.1 || train.epochs == 3"), Ok(true));
    }

    #[test]
    fn mistakes_are_named() {
        let told = |text: &str| Condition::parse(text, place()).unwrap_err();
        assert_eq!(told("lr > 1").1.as_deref(), Some("did you mean `optimizer.lr`?"));
        assert_eq!(told("loss.margn > 1").1.as_deref(), Some("did you mean `loss.margin`?"));
        assert!(told("sin(optimizer.lr) > 1").0.contains("no function `sin`"));
        for text in ["", "optimizer.lr >", "a b", "(((", "\"", "optimizer.lr > > 1", "1 +"] {
            assert!(told(text).0.contains("is no condition"), "{text}");
        }
        assert!(holds("loss.kind > 3").unwrap_err().contains("loss.kind > 3"));
        assert!(holds("train.epochs + 1").unwrap_err().contains("neither true nor false"));
    }
}
