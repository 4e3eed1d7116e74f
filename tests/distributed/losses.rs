//! Losses over class weights: a part of the batch on each rank, weights whole or divided, against one
//! process with the whole batch.

use super::common::{experiment, of_kind};
use super::{LIMIT, average, close, join, numbers, part, possible, ranks};
use arcrun::distributed::{Group, Reduction, enter, leave};
use arcrun::loss::sharded::{collect, spread};
use arcrun::loss::{Loss, LossConfig, LossInput, LossOutput};
use std::collections::BTreeMap;
use std::sync::Arc;
use tch::{Device, Kind, Tensor, nn};

/// Not a multiple of 2 or 3: classes are divided unevenly.
const CLASSES: i64 = 11;
const DIM: i64 = 6;
const BATCH: i64 = 8;

/// Every margin, and its keys.
pub const LOSSES: [(&str, &str); 13] = [
    ("arcface", "scale = 8.0"),
    ("arcface", "scale = 8.0\ngradient = 'detached'\nboundary = 'none'"),
    ("arcface", "scale = 8.0\neasy_margin = true"),
    ("adaface", "scale = 8.0\nt_alpha = 0.5"),
    ("combined", "scale = 8.0"),
    ("cosface", "scale = 8.0"),
    ("curricularface", "scale = 8.0"),
    ("multiplicative", "scale = 8.0"),
    ("norm_softmax", "scale = 8.0"),
    ("sphereface", "lambda_base = 10.0"),
    ("sphereface_r", "scale = 8.0"),
    ("subcenter_arcface", "scale = 8.0\nsubcenters = 2"),
    ("cross_entropy", "label_smoothing = 0.1"),
];

pub fn config(kind: &str, keys: &str) -> LossConfig {
    experiment("loss", &of_kind(kind, keys.parse().unwrap())).loss
}

/// A loss in float64, and its parameters.
pub struct Built {
    pub loss: Box<dyn Loss>,
    pub parameters: BTreeMap<String, Tensor>,
}

pub fn build(config: &LossConfig, classes: i64) -> Built {
    let mut store = nn::VarStore::new(Device::Cpu);
    tch::manual_seed(7);
    let loss = config.build(&store.root(), DIM, classes);
    store.double();
    Built { loss, parameters: store.variables().into_iter().collect() }
}

/// A training step on some rows of the batch: what the loss says, and the rows' gradient.
pub fn step(
    built: &mut Built,
    embedding: &Tensor,
    labels: &Tensor,
    train: bool,
) -> (LossOutput, Tensor) {
    let embedding = embedding.copy().set_requires_grad(true);
    let input = LossInput { embedding: &embedding, labels, text: None, train };
    let output = built.loss.forward(&input).unwrap();
    let parameters: Vec<Tensor> = built.parameters.values().map(Tensor::shallow_clone).collect();
    arcrun::torch::gradient::clear(&parameters).unwrap();
    output.loss.backward();
    if train {
        built.loss.after_step();
    }
    (output, embedding.grad())
}

pub fn labels(classes: i64) -> Tensor {
    (Tensor::arange(BATCH, (Kind::Int64, Device::Cpu)) * 5).remainder(classes)
}

/// Loss, gradients, counts and states of the ranks against those of one process.
fn compare(group: &Arc<Group>, whole: &LossConfig, divided: &LossConfig, name: &str) {
    let mut one = build(whole, CLASSES);
    enter(group.clone(), true);
    let mut own = build(divided, CLASSES);
    leave();
    let labels = labels(CLASSES);
    let (first, count) = part(group, BATCH);
    for (index, train) in [true, true, false].into_iter().enumerate() {
        let name = format!("{name}, step {index}");
        // Some embeddings near their class, so that not everything is clamped.
        let embedding = numbers(20 + index as i64, &[BATCH, DIM]) * 3.0;
        let (expected, expected_rows) = step(&mut one, &embedding, &labels, train);
        let rows = |all: &Tensor| all.narrow(0, first, count);
        enter(group.clone(), true);
        let (output, own_rows) = step(&mut own, &rows(&embedding), &rows(&labels), train);
        leave();
        close(&format!("{name}: loss"), &average(group, &output.loss), &expected.loss);
        let size = group.size() as f64;
        close(&format!("{name}: embedding"), &(own_rows / size), &rows(&expected_rows));
        let correct = group.reduce_numbers(&[output.correct.double_value(&[])], Reduction::Sum);
        assert_eq!(correct.unwrap()[0], expected.correct.double_value(&[]), "{name}");
        for (got, expected) in output.values.iter().zip(&expected.values) {
            close(&format!("{name}: value"), &average(group, got), expected);
        }
        if let (Some(got), Some(expected)) = (&output.monitored, &expected.monitored) {
            close(&format!("{name}: monitored"), &average(group, got), expected);
        }
        let sharded = own.loss.sharded();
        for (key, expected) in &one.parameters {
            let what = format!("{name}: {key}");
            let got = own.parameters[key].grad();
            match sharded.iter().find(|rows| rows.name == *key) {
                Some(rows) => {
                    close(&what, &got, &rows.own(&expected.grad()));
                    if let Some(whole) = collect(group, &got, rows).unwrap() {
                        close(&what, &whole, &expected.grad());
                    }
                    let mut back = got.zeros_like();
                    let whole = group.is_first().then(|| expected.grad());
                    spread(group, whole.as_ref(), rows, &mut back).unwrap();
                    close(&what, &back, &got);
                }
                None => close(&what, &average(group, &got), &expected.grad()),
            }
        }
        assert_state(&own.loss.state(), &one.loss.state(), &name);
    }
}

/// Numbers within rounding.
fn assert_state(got: &serde_json::Value, expected: &serde_json::Value, name: &str) {
    match (expected.as_object(), expected.as_f64()) {
        (Some(expected), _) => {
            for (key, value) in expected {
                assert_state(&got[key], value, &format!("{name}: {key}"));
            }
        }
        (None, Some(value)) => {
            let got = got.as_f64().unwrap();
            assert!((got - value).abs() <= 1e-12 * value.abs().max(1.0), "{name}: {got} {value}");
        }
        (None, None) => assert_eq!(got, expected, "{name}"),
    }
}

#[test]
fn margin_losses_over_ranks_are_those_of_one_process() {
    if possible() {
        ranks(2, "losses::whole_weights");
        ranks(3, "losses::whole_weights");
    }
}

#[test]
#[ignore = "one rank of margin_losses_over_ranks_are_those_of_one_process"]
fn whole_weights() {
    let group = join(LIMIT);
    for (kind, keys) in LOSSES {
        let whole = config(kind, keys);
        compare(&group, &whole, &whole, &format!("{kind} {keys}"));
    }
}

#[test]
fn divided_class_weights_change_nothing() {
    if possible() {
        ranks(2, "losses::divided_weights");
        ranks(3, "losses::divided_weights");
    }
}

#[test]
#[ignore = "one rank of divided_class_weights_change_nothing"]
fn divided_weights() {
    let group = join(LIMIT);
    for (kind, keys) in LOSSES.into_iter().filter(|(kind, _)| *kind != "cross_entropy") {
        let divided = config(kind, &format!("{keys}\nshard = true"));
        compare(&group, &config(kind, keys), &divided, &format!("divided {kind} {keys}"));
    }
    // Beside another loss, whose weights are averaged.
    let parts = |keys: &str| {
        let text = format!(
            "[parts.a]\nweight = 0.5\nloss = {{ kind = 'cosface', scale = 8.0{keys} }}\n\
             [parts.b]\nloss = {{ kind = 'cross_entropy' }}"
        );
        config("sum", &text)
    };
    compare(&group, &parts(""), &parts(", shard = true"), "sum");
}

#[test]
fn one_process_may_divide_too() {
    for (kind, keys) in LOSSES.into_iter().filter(|(kind, _)| *kind != "cross_entropy") {
        let mut one = build(&config(kind, keys), CLASSES);
        let mut divided = build(&config(kind, &format!("{keys}\nshard = true")), CLASSES);
        assert!(divided.loss.sharded().is_empty(), "all weights are here");
        for (index, train) in [true, true, false].into_iter().enumerate() {
            let embedding = numbers(20 + index as i64, &[BATCH, DIM]) * 3.0;
            let (expected, rows) = step(&mut one, &embedding, &labels(CLASSES), train);
            let (output, own_rows) = step(&mut divided, &embedding, &labels(CLASSES), train);
            close(kind, &output.loss, &expected.loss);
            close(kind, &own_rows, &rows);
            close(kind, &divided.parameters["weight"].grad(), &one.parameters["weight"].grad());
            assert!(output.correct.equal(&expected.correct));
        }
    }
}

#[test]
fn a_loss_without_cosines_has_no_such_key() {
    let text = "[data]\nroot = '.'\n[loss]\nkind = 'cross_entropy'\nshard = true\n";
    let refused = arcrun::config::load_str::<arcrun::config::Experiment>("x.toml", text, &[]);
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("shard"), "{error}");
}
