//! Mixed precision: operations under our regions against those under `torch.autocast`
//! (`tools/parity/autocast.py`), and losses in float32 whatever the embeddings are in.

mod common;

use arcrun::checkpoint::Named;
use arcrun::config::Family;
use arcrun::loss::{LossConfig, LossInput};
use arcrun::torch::autocast;
use common::{Comparison, experiment, fill, of_kind, read_json, read_tensors};
use serde::Deserialize;
use std::collections::BTreeSet;
use tch::{Device, Kind, Reduction, Tensor, nn};
use toml::{Table, Value};

#[derive(Deserialize)]
struct Case {
    region: String,
    op: String,
    given: String,
    /// Types of the operands, and their shapes.
    operands: Vec<String>,
    shapes: Vec<Vec<i64>>,
    /// Type of the result, or "refused".
    result: String,
}

fn kind(name: &str) -> Kind {
    match name {
        "float32" => Kind::Float,
        "bfloat16" => Kind::BFloat16,
        "float16" => Kind::Half,
        other => panic!("{other}"),
    }
}

/// The operations of the fixture by their names there.
fn apply(op: &str, x: &[Tensor]) -> Result<Tensor, tch::TchError> {
    let (a, none) = (&x[0], None::<&Tensor>);
    match op {
        "conv1d" => a.f_conv1d(&x[1], Some(&x[2]), 1, 0, 1, 1),
        "conv2d" => a.f_conv2d(&x[1], Some(&x[2]), 1, 1, 1, 1),
        "conv_transpose2d" => a.f_conv_transpose2d(&x[1], none, 1, 0, 0, 1, 1),
        "linear" => a.f_linear(&x[1], Some(&x[2])),
        "matmul" => a.f_matmul(&x[1]),
        "mm" => a.f_mm(&x[1]),
        "bmm" => a.f_bmm(&x[1]),
        "addmm" => a.f_addmm(&x[1], &x[2]),
        "baddbmm" => a.f_baddbmm(&x[1], &x[2], 1.0, 1.0),
        "attention" => Tensor::f_scaled_dot_product_attention(
            a,
            &x[1],
            &x[2],
            none,
            0.0,
            false,
            None::<f64>,
            false,
        ),
        "softmax" => a.f_softmax(-1, None::<Kind>),
        "log_softmax" => a.f_log_softmax(-1, None::<Kind>),
        "cross_entropy" => {
            let labels = Tensor::from_slice(&[1i64, 0, 5]);
            a.f_cross_entropy_loss(&labels, none, Reduction::Mean, -100, 0.0)
        }
        "layer_norm" => a.f_layer_norm([6i64], Some(&x[1]), Some(&x[2]), 1e-5, true),
        "group_norm" => a.f_group_norm(2, Some(&x[1]), Some(&x[2]), 1e-5, true),
        "batch_norm" => {
            let (mean, variance) = (x[1].zeros_like(), x[1].ones_like());
            let (mean, variance) = (mean.to_kind(Kind::Float), variance.to_kind(Kind::Float));
            let (weight, bias) = (Some(&x[1]), Some(&x[2]));
            a.f_batch_norm(weight, bias, Some(&mean), Some(&variance), true, 0.1, 1e-5, true)
        }
        "sum" => a.f_sum_dim_intlist([1i64].as_slice(), false, None::<Kind>),
        "mean" => a.f_mean_dim([1i64].as_slice(), false, None::<Kind>),
        "prod" => a.f_prod_dim_int(1, false, None::<Kind>),
        "cumsum" => a.f_cumsum(1, None::<Kind>),
        "norm" => a.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), false),
        "normalize" => {
            let norm = a.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), true)?.f_clamp_min(1e-12)?;
            a.f_div(&norm)
        }
        "cosine_similarity" => Tensor::f_cosine_similarity(a, &x[1], 1, 1e-8),
        "cdist" => Tensor::f_cdist(a, &x[1], 2.0, None::<i64>),
        "interpolate" => a.f_upsample_bilinear2d([7i64, 7], false, None::<f64>, None::<f64>),
        "avg_pool2d" => a.f_avg_pool2d([2i64, 2], [2i64, 2], 0, false, true, None::<i64>),
        "adaptive_avg_pool2d" => a.f_adaptive_avg_pool2d([2i64, 2]),
        "max_pool2d" => a.f_max_pool2d([2i64, 2], [2i64, 2], 0, 1, false),
        "prelu" => a.f_prelu(&x[1]),
        "relu" => a.f_relu(),
        "gelu" => a.f_gelu("none"),
        "silu" => a.f_silu(),
        "sigmoid" => a.f_sigmoid(),
        "logsigmoid" => a.f_log_sigmoid(),
        "softplus" => a.f_softplus(),
        "pow" => a.f_pow_tensor_scalar(2),
        "exp" => a.f_exp(),
        "log" => a.f_abs()?.f_add_scalar(0.5)?.f_log(),
        "acos" => a.f_mul_scalar(0.9)?.f_acos(),
        "sqrt" => a.f_abs()?.f_sqrt(),
        "mse_loss" => a.f_mse_loss(&x[1], Reduction::Mean),
        "smooth_l1_loss" => a.f_smooth_l1_loss(&x[1], Reduction::Mean, 1.0),
        "bce_with_logits" => {
            a.f_binary_cross_entropy_with_logits(&x[1].f_abs()?, none, none, Reduction::Mean)
        }
        "add" => a.f_add(&x[1]),
        "cat" => Tensor::f_cat(&[a, &x[1]], 0),
        "stack" => Tensor::f_stack(&[a, &x[1]], 0),
        "index_select" => a.f_index_select(0, &Tensor::from_slice(&[2i64, 0])),
        other => panic!("{other} is not translated"),
    }
}

#[test]
fn operations_give_the_types_and_values_of_torch_autocast() {
    let cases: Vec<Case> = read_json("autocast/cases.json");
    let expected = read_tensors("autocast/expected.safetensors");
    let mut comparison = Comparison::default();
    let mut wrong = Vec::new();
    let _no_grad = tch::no_grad_guard();
    for Case { region, op, given, operands, shapes, result } in &cases {
        let name = format!("{region}.{op}.{given}");
        let operand = |(place, (shape, of)): (usize, (&Vec<i64>, &String))| {
            let values = fill::symmetric(&format!("{op}.{}", ["a", "b", "c"][place]), shape);
            values.to_kind(kind(of))
        };
        let inputs: Vec<Tensor> = shapes.iter().zip(operands).enumerate().map(operand).collect();
        let half = kind(region);
        let got = autocast::with(Device::Cpu, Some(half), || apply(op, &inputs)).unwrap();
        let got = match (got, result.as_str()) {
            (Err(_), "refused") => continue,
            (Ok(got), of) if of != "refused" && got.kind() == kind(of) => got,
            (Ok(got), of) => {
                wrong.push(format!("{name}: {:?} for {of}", got.kind()));
                continue;
            }
            (Err(error), of) => {
                wrong.push(format!("{name}: refused for {of}: {error}"));
                continue;
            }
        };
        // One unit in the last place; results are a few roundings of operands below 1.
        let rounding = match (half, got.kind()) {
            (_, Kind::Float) if given == "float32" => 1e-6,
            (Kind::BFloat16, _) => 2f64.powi(-7),
            _ => 2f64.powi(-10),
        };
        comparison.tensor(&name, &got, &expected[&name], rounding);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    comparison.finish();
    let ops: BTreeSet<&str> = cases.iter().map(|case| case.op.as_str()).collect();
    assert!(ops.len() > 40 && cases.len() > 200, "{ops:?}");
}

/// A case of the losses' own fixtures, which hold every loss at its edges.
#[derive(Deserialize)]
struct LossCase {
    name: String,
    kind: String,
    config: Table,
    input: String,
    train: bool,
    #[serde(default)]
    state: serde_json::Value,
}

impl LossCase {
    fn config(&self) -> LossConfig {
        let mut keys = of_kind(&self.kind, self.config.clone());
        if let Some(Value::Table(parts)) = keys.get_mut("parts") {
            for (_, part) in parts.iter_mut() {
                let mut loss = part.as_table().unwrap().clone();
                let weight = loss.remove("weight").unwrap();
                let entries = [("weight".to_owned(), weight), ("loss".to_owned(), loss.into())];
                *part = Table::from_iter(entries).into();
            }
        }
        experiment("loss", &keys).loss
    }

    /// Loss, monitored, correct and values, then the gradients of the embeddings, of a batch whose
    /// embeddings are given.
    fn run(&self, inputs: &Named, embedding: &Tensor, text: Option<&Tensor>) -> Vec<Tensor> {
        let input = |name: &str| inputs.get(&format!("{}.{name}", self.input));
        let rows = Tensor::arange(embedding.size()[0], (Kind::Int64, Device::Cpu));
        let labels = input("labels").unwrap_or(&rows);
        let centres = self.config.get("subcenters").map_or(1, |k| k.as_integer().unwrap());
        let classes = match input("weight") {
            Some(weight) => weight.size()[0] / centres,
            None => labels.max().int64_value(&[]) + 1,
        };
        let store = nn::VarStore::new(Device::Cpu);
        let mut loss = self.config().build(&(store.root() / "loss"), embedding.size()[1], classes);
        for (name, mut parameter) in store.variables() {
            let value = input(name.rsplit('.').next().unwrap()).unwrap();
            tch::no_grad(|| parameter.copy_(value));
        }
        if !self.state.is_null() {
            loss.load_state(&self.state).unwrap();
        }
        let leaf = |x: &Tensor| x.copy().set_requires_grad(true);
        let (embedding, text) = (leaf(embedding), text.map(leaf));
        // Triplets may be drawn at random.
        tch::manual_seed(3);
        let batch =
            LossInput { embedding: &embedding, labels, text: text.as_ref(), train: self.train };
        let output = loss.forward(&batch).unwrap();
        output.loss.backward();
        assert_eq!(output.loss.kind(), Kind::Float, "{}", self.name);
        let mut all = vec![output.loss.detach(), output.correct];
        all.extend(output.monitored);
        all.extend(output.values);
        all.push(embedding.grad());
        all.extend(text.map(|text| text.grad()));
        all
    }
}

/// NaN is what a value without a meaning is.
fn same(a: &Tensor, b: &Tensor) -> bool {
    a.kind() == b.kind() && a.size() == b.size() && a.allclose(b, 0.0, 0.0, true)
}

#[test]
fn every_loss_of_half_precision_embeddings_is_that_of_the_widened_ones() {
    let cases: Vec<LossCase> = read_json("loss/cases.json");
    let inputs = read_tensors("loss/inputs.safetensors");
    let (mut kinds, mut wrong) = (BTreeSet::new(), Vec::new());
    for case in &cases {
        let given = |name: &str| inputs.get(&format!("{}.{name}", case.input));
        let embedding = given("embedding").or(given("image")).unwrap();
        for half in [Kind::Half, Kind::BFloat16] {
            let narrow = |x: &Tensor| x.to_kind(half);
            let (embedding, text) = (narrow(embedding), given("text").map(narrow));
            let all = [Some(&embedding), text.as_ref()];
            let fits = |x: &Tensor| x.isfinite().all().int64_value(&[]) == 1;
            if !all.into_iter().flatten().all(fits) {
                continue;
            }
            kinds.insert((case.kind.as_str(), half == Kind::Half));
            let wide = |x: &Tensor| x.to_kind(Kind::Float);
            let ours = case.run(&inputs, &embedding, text.as_ref());
            let text = text.as_ref().map(wide);
            let expected = case.run(&inputs, &wide(&embedding), text.as_ref());
            let gradients = 1 + usize::from(text.is_some());
            let numbers = ours.len() - gradients;
            for (place, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
                // A gradient goes back in the embeddings' type.
                let expected = match place < numbers {
                    true => expected.shallow_clone(),
                    false => expected.to_kind(half),
                };
                if !same(ours, &expected) {
                    wrong.push(format!("{} {half:?} {place}: {ours:?} {expected:?}", case.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}: {wrong:#?}", wrong.len());
    for kind in LossConfig::family().kind_names() {
        assert!(kinds.contains(&(kind, true)) && kinds.contains(&(kind, false)), "{kind}");
    }
}

/// Sums of squares of these overflow float16.
#[test]
fn large_embeddings_in_float16_do_not_overflow_a_loss() {
    let (size, dim) = (4, 64);
    let embedding = (fill::symmetric("large", &[size, dim]) * 2000.0).to_kind(Kind::Half);
    let text = (fill::symmetric("text", &[size, dim]) * 2000.0).to_kind(Kind::Half);
    let labels = Tensor::from_slice(&[0i64, 0, 1, 1]);
    for kind in LossConfig::family().kind_names() {
        let mut keys = of_kind(kind, Table::new());
        if kind == "sum" {
            let loss = of_kind("arcface", Table::new());
            let part = Table::from_iter([("loss".to_owned(), Value::Table(loss))]);
            let parts = Table::from_iter([("a".to_owned(), Value::Table(part))]);
            keys.insert("parts".into(), Value::Table(parts));
        }
        let config = experiment("loss", &keys).loss;
        let store = nn::VarStore::new(Device::Cpu);
        let mut loss = config.build(&(store.root() / "loss"), dim, 2);
        let batch =
            LossInput { embedding: &embedding, labels: &labels, text: Some(&text), train: true };
        let output = loss.forward(&batch).unwrap();
        let all = [Some(&output.loss), output.monitored.as_ref()];
        for value in all.into_iter().flatten() {
            assert_eq!(value.kind(), Kind::Float, "{kind}");
            assert!(value.double_value(&[]).is_finite(), "{kind}: {value:?}");
        }
    }
}

/// `head.normalize` is inside of the region.
#[test]
fn unit_length_is_made_in_float32() {
    let keys = toml::from_str("embedding_dim = 16\nnormalize = true\n").unwrap();
    let config = experiment("head", &keys).head;
    for half in [Kind::BFloat16, Kind::Half] {
        let store = nn::VarStore::new(Device::Cpu);
        let head = config.build(&store.root(), 32);
        let features = (fill::symmetric("features", &[5, 32]) * 900.0).to_kind(Kind::Float);
        let unit = autocast::with(Device::Cpu, Some(half), || head.forward(&features, true));
        let unit = unit.unwrap();
        assert_eq!(unit.kind(), Kind::Float);
        let lengths = unit.norm_scalaropt_dim(2.0, [1i64].as_slice(), false);
        let error = (lengths - 1.0).abs().max().double_value(&[]);
        assert!(error < 1e-6, "{half:?}: {error}");
    }
}
