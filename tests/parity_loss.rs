//! Losses against pytorch-metric-learning, open_clip, PyTorch and loops: `tools/parity/loss.py`.

mod common;

use arcrun::checkpoint::Named;
use arcrun::loss::{LossConfig, LossInput, LossOutput};
use common::{Comparison, experiment, of_kind, read_json, read_tensors};
use serde::Deserialize;
use std::collections::BTreeSet;
use tch::{Device, Kind, Tensor, nn};
use toml::{Table, Value};

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    config: Table,
    /// Which of the inputs.
    input: String,
    train: bool,
    /// What the loss holds before the step.
    #[serde(default)]
    state: serde_json::Value,
    /// "finite" where the gradients have no reference.
    reference: String,
    /// Names of the expected tensors.
    expected: Vec<String>,
}

impl Case {
    fn config(&self) -> LossConfig {
        let mut keys = of_kind(&self.kind, self.config.clone());
        if let Some(Value::Table(parts)) = keys.get_mut("parts") {
            // The fixtures keep the keys of a part's loss beside its weight.
            for (_, part) in parts.iter_mut() {
                let mut loss = part.as_table().unwrap().clone();
                let weight = loss.remove("weight").unwrap();
                let entries = [("weight".to_owned(), weight), ("loss".to_owned(), loss.into())];
                *part = Table::from_iter(entries).into();
            }
        }
        experiment("loss", &keys).loss
    }

    /// The tensors of its input by their names.
    fn inputs<'a>(&self, inputs: &'a Named) -> Vec<(&'a str, &'a Tensor)> {
        let prefix = format!("{}.", self.input);
        let named = inputs.iter().filter_map(|(key, x)| Some((key.strip_prefix(&prefix)?, x)));
        named.collect()
    }
}

/// What one case gives, by the names of its expected tensors.
fn run(case: &Case, inputs: &Named, kind: Kind) -> Named {
    let inputs = case.inputs(inputs);
    let input = |name: &str| inputs.iter().find(|(key, _)| *key == name).map(|(_, x)| *x);
    // A copy: `to_kind` alone gives the fixture itself, where gradients would add up.
    let leaf = |x: &Tensor| x.copy().to_kind(kind).set_requires_grad(true);
    let embedding = leaf(input("embedding").or(input("image")).unwrap());
    let text = input("text").map(leaf);
    let size = embedding.size()[0];
    let rows = Tensor::arange(size, (Kind::Int64, Device::Cpu));
    let labels = input("labels").unwrap_or(&rows);
    let centres = case.config.get("subcenters").map_or(1, |k| k.as_integer().unwrap());
    let classes = match input("weight") {
        Some(weight) => weight.size()[0] / centres,
        None => labels.max().int64_value(&[]) + 1,
    };

    let mut store = nn::VarStore::new(Device::Cpu);
    let mut loss = case.config().build(&(store.root() / "loss"), embedding.size()[1], classes);
    if kind == Kind::Double {
        store.double();
    }
    let parameters = store.variables();
    for (name, parameter) in &parameters {
        // The last part of the name: a part of a sum has its own in front.
        let value = input(name.rsplit('.').next().unwrap()).unwrap();
        tch::no_grad(|| parameter.shallow_clone().copy_(value));
    }
    if !case.state.is_null() {
        loss.load_state(&case.state).unwrap();
    }
    let batch = LossInput { embedding: &embedding, labels, text: text.as_ref(), train: case.train };
    let output = loss.forward(&batch).unwrap();
    output.loss.backward();

    let LossOutput { loss: value, values, .. } = output;
    let mut got = Named::new();
    got.insert("loss".into(), value.detach());
    for (column, value) in loss.columns().into_iter().zip(values) {
        let name = match column.strip_suffix(".loss") {
            Some(part) => format!("part.{part}"),
            None if column == "active_triplets" => "active".to_owned(),
            None => column,
        };
        got.insert(name, value);
    }
    if case.train {
        // The references count a step in their forward pass.
        loss.after_step();
    }
    if let serde_json::Value::Object(state) = loss.state() {
        for (name, value) in state {
            if let Some(value) = value.as_f64() {
                got.insert(format!("state.{name}"), Tensor::from(value));
            }
        }
    }
    let image = if input("image").is_some() { "grad_image" } else { "grad_embedding" };
    got.insert(image.into(), embedding.grad());
    if let Some(text) = text {
        got.insert("grad_text".into(), text.grad());
    }
    for (name, parameter) in &parameters {
        got.insert(name.replace("loss.", "grad_"), parameter.grad());
    }
    got
}

/// A gradient goes with 1 / norm: on its own scale no row hides the others.
fn by_norm(gradient: &Tensor, input: &Tensor) -> Tensor {
    let norm = input.norm_scalaropt_dim(2.0, [1i64].as_slice(), true);
    gradient.to_kind(Kind::Double) * norm
}

/// How far from the references the losses, the gradients and the gradients on `kinks` may be,
/// relative to the largest magnitude of a tensor.
struct Tolerance {
    value: f64,
    gradient: f64,
    kinks: f64,
    scalar: f64,
}

fn compare_all(kind: Kind, tolerance: &Tolerance, leave_out: &[&str]) {
    let cases: Vec<Case> = read_json("loss/cases.json");
    let inputs = read_tensors("loss/inputs.safetensors");
    let expected = read_tensors("loss/expected.safetensors");
    let mut comparison = Comparison::default();
    let mut kinds = BTreeSet::new();
    for case in cases.iter().filter(|case| !leave_out.contains(&case.input.as_str())) {
        kinds.insert(case.kind.as_str());
        let got = run(case, &inputs, kind);
        for (key, tensor) in &got {
            let compared = case.expected.contains(key);
            let finite = tensor.isfinite().all().int64_value(&[]) == 1;
            assert!(finite || !compared, "{}.{key} is not finite", case.name);
            assert!(!key.starts_with("grad_") || finite, "{}.{key} is not finite", case.name);
        }
        let gradients = got.keys().filter(|key| key.starts_with("grad_")).count();
        let known = case.expected.iter().filter(|key| key.starts_with("grad_")).count();
        assert!(case.reference == "finite" || gradients == known, "{}: gradients", case.name);
        for key in &case.expected {
            let name = format!("{}.{key}", case.name);
            let ours = got.get(key).unwrap_or_else(|| panic!("{name} is missing"));
            let theirs = &expected[&name];
            let numbers = || [ours, theirs].map(|x| x.to_kind(Kind::Double).double_value(&[]));
            let gradient = match case.input.as_str() {
                "kinks" => tolerance.kinks,
                _ => tolerance.gradient,
            };
            match key.as_str() {
                "loss" if case.reference == "finite" => {
                    // The floor that keeps the gradient finite moves a logit.
                    let [ours, theirs] = numbers();
                    comparison.number(&name, ours, theirs, 1.0, 0.02);
                }
                "grad_embedding" | "grad_image" | "grad_text" => {
                    let input = &inputs[&format!("{}.{}", case.input, &key[5..])];
                    let [ours, theirs] = [ours, theirs].map(|x| by_norm(x, input));
                    comparison.tensor(&name, &ours, &theirs, gradient);
                }
                key if key.starts_with("grad_") => {
                    comparison.tensor(&name, ours, theirs, gradient);
                }
                key if key == "loss" || key.starts_with("part.") => {
                    comparison.tensor(&name, ours, theirs, tolerance.value);
                }
                _ => {
                    let [ours, theirs] = numbers();
                    let scale = theirs.abs().max(1.0);
                    comparison.number(&name, ours, theirs, scale, tolerance.scalar);
                }
            }
        }
    }
    comparison.finish();
    // Every part has its fixture.
    let registered: Vec<&str> = {
        use arcrun::config::Family;
        LossConfig::family().kind_names()
    };
    let missing: Vec<_> = registered.iter().filter(|kind| !kinds.contains(**kind)).collect();
    assert!(missing.is_empty(), "losses without a fixture: {missing:?}");
}

#[test]
fn losses_and_gradients_in_float64() {
    let tolerance = Tolerance { value: 1e-9, gradient: 1e-9, kinks: 1e-9, scalar: 1e-12 };
    compare_all(Kind::Double, &tolerance, &[]);
}

/// Plain loops in float32 are within 9e-7 of the losses and 4e-5 of the gradients, 1e-3 on
/// `kinks`. One degree from a pole, where `swept` ends, 1 - cos^2 = 3e-4 is rounded by 6e-8, the
/// slope of an angle, its inverse root, by 1e-4 of itself. `duplicates` decides between distances that are equal but for rounding.
#[test]
fn losses_and_gradients_in_float32() {
    let tolerance = Tolerance { value: 2e-6, gradient: 2e-4, kinks: 2e-3, scalar: 1e-6 };
    compare_all(Kind::Float, &tolerance, &["duplicates"]);
}
