//! Losses against pytorch-metric-learning and PyTorch: `tools/parity/loss.py`.

mod common;

use arcrun::checkpoint::Named;
use common::{Comparison, experiment, of_kind, read_json, read_tensors};
use serde::Deserialize;
use tch::{Device, Kind, Tensor, nn};

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    config: toml::Table,
    /// Which of the inputs.
    input: String,
    /// "finite" where the gradients have no reference.
    reference: String,
    /// Names of the expected tensors.
    expected: Vec<String>,
}

/// What one case gives: `loss`, `scores`, `grad_embedding`, `grad_<parameter>`.
fn run(case: &Case, inputs: &Named, kind: Kind) -> Named {
    let input = |name: &str| &inputs[&format!("{}.{name}", case.input)];
    let (embedding, weight, labels) = (input("embedding"), input("weight"), input("labels"));
    let config = experiment("loss", &of_kind(&case.kind, case.config.clone())).loss;
    let (classes, dim) = weight.size2().unwrap();

    let mut store = nn::VarStore::new(Device::Cpu);
    let mut loss = config.build(&(store.root() / "loss"), dim, classes);
    if kind == Kind::Double {
        store.double();
    }
    let parameters = store.variables();
    for (name, parameter) in &parameters {
        let name = name.strip_prefix("loss.").unwrap();
        tch::no_grad(|| parameter.shallow_clone().copy_(input(name)));
    }
    // A copy: `to_kind` alone gives the fixture itself, where gradients would add up.
    let embedding = embedding.copy().to_kind(kind).set_requires_grad(true);
    let output = loss.forward(&embedding, labels, true);
    output.loss.backward();

    let mut got = Named::new();
    got.insert("loss".into(), output.loss.detach());
    got.insert("scores".into(), output.scores);
    got.insert("grad_embedding".into(), embedding.grad());
    for (name, parameter) in &parameters {
        got.insert(name.replace("loss.", "grad_"), parameter.grad());
    }
    got
}

/// The logits as far as the scores tell them: the target's entry has no margin there, so both get
/// a 0 in its place.
fn logits(case: &Case, scores: &Tensor, expected: &Tensor, labels: &Tensor) -> [Tensor; 2] {
    match case.config.get("scale") {
        Some(scale) => [scores * scale.as_float().unwrap(), expected.shallow_clone()]
            .map(|logits| logits.scatter_value(1, &labels.unsqueeze(1), 0.0)),
        None => [scores.shallow_clone(), expected.shallow_clone()],
    }
}

/// Tolerances relative to the largest magnitude of a tensor.
fn compare_all(kind: Kind, value_tolerance: f64, gradient_tolerance: f64) {
    let cases: Vec<Case> = read_json("loss/cases.json");
    let inputs = read_tensors("loss/inputs.safetensors");
    let expected = read_tensors("loss/expected.safetensors");
    let mut comparison = Comparison::default();
    let (mut full, mut finite) = (0, 0);
    for case in &cases {
        let got = run(case, &inputs, kind);
        let want = |key: &str| &expected[&format!("{}.{key}", case.name)];
        assert!(got.values().all(|tensor| tensor.kind() == kind), "{}: kind", case.name);
        for key in &case.expected {
            let name = format!("{}.{key}", case.name);
            match key.as_str() {
                "logits" => {
                    let labels = &inputs[&format!("{}.labels", case.input)];
                    let [ours, theirs] = logits(case, &got["scores"], want(key), labels);
                    comparison.tensor(&name, &ours, &theirs, value_tolerance);
                }
                "loss" if case.reference == "finite" => {
                    // The floor that keeps the gradient finite moves a logit.
                    let [ours, theirs] = [&got[key], want(key)].map(|loss| loss.double_value(&[]));
                    comparison.number(&name, ours, theirs, 1.0, 0.02);
                }
                "loss" => comparison.tensor(&name, &got[key], want(key), value_tolerance),
                _ => comparison.tensor(&name, &got[key], want(key), gradient_tolerance),
            }
        }
        if case.reference == "finite" {
            for (key, tensor) in &got {
                let finite = tensor.isfinite().all().int64_value(&[]) == 1;
                assert!(finite, "{}.{key} is not finite", case.name);
            }
            finite += 1;
        } else {
            // Every gradient has its reference.
            assert_eq!(got.len(), case.expected.len(), "{}: tensors", case.name);
            full += 1;
        }
    }
    comparison.finish();
    assert_eq!((full, finite, cases.len()), (38, 9, 47), "cases with and without gradients");
}

#[test]
fn losses_and_gradients_in_float64() {
    compare_all(Kind::Double, 1e-9, 1e-9);
}

/// PyTorch's own float32 is within 3e-7 of the losses and 5e-5 of the gradients.
#[test]
fn losses_and_gradients_in_float32() {
    compare_all(Kind::Float, 1e-6, 1e-4);
}
