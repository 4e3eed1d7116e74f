//! Backbones against torchvision and PyTorch twins of the others, the head against
//! `torch.nn`: `tools/parity/backbone.py`.

mod common;

use arcrun::checkpoint::Named;
use common::{Comparison, Summary, experiment, fill, of_kind, read_json, read_tensors};
use serde::Deserialize;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor, nn};
use toml::Table;

#[derive(Deserialize)]
struct Case {
    /// A backbone's; the head has none.
    kind: Option<String>,
    config: Table,
    /// Shape.
    input: Vec<i64>,
    eval: Pass,
    train: Pass,
    running: BTreeMap<String, Summary>,
}

#[derive(Deserialize)]
struct Pass {
    loss: f64,
    gradients: BTreeMap<String, Summary>,
}

/// [name, shape] each, in torch's order.
#[derive(Deserialize)]
struct Names {
    features: Option<i64>,
    parameters: Vec<(String, Vec<i64>)>,
    buffers: Vec<(String, Vec<i64>)>,
}

type Forward = Box<dyn Fn(&Tensor, bool) -> Tensor>;

/// A network by itself, its tensors by the names that torch has for them.
struct Network {
    forward: Forward,
    features: i64,
    tensors: Named,
}

impl Network {
    fn backbone(case: &Case, kind: Kind) -> Self {
        let keys = of_kind(case.kind.as_ref().unwrap(), case.config.clone());
        let config = experiment("backbone", &keys).backbone;
        let store = nn::VarStore::new(Device::Cpu);
        let backbone = config.build(&(store.root() / "backbone"));
        let features = backbone.features();
        let forward = Box::new(move |images: &Tensor, train| backbone.forward(images, train));
        Network { forward, features, tensors: tensors(store, "backbone.", kind) }
    }

    fn head(case: &Case, kind: Kind) -> Self {
        let config = experiment("head", &case.config).head;
        let store = nn::VarStore::new(Device::Cpu);
        let head = config.build(&(store.root() / "head"), case.input[1]);
        let forward = Box::new(move |features: &Tensor, train| head.forward(features, train));
        let features = config.embedding_dim as i64;
        Network { forward, features, tensors: tensors(store, "head.", kind) }
    }

    /// Parameters and running statistics by formula.
    fn fill(&self) {
        for (name, tensor) in &self.tensors {
            let value = fill::parameter(name, &tensor.size());
            tch::no_grad(|| tensor.shallow_clone().copy_(&value));
        }
    }

    fn assert_names(&self, case: &str, names: &Names) {
        let sorted = |list: &[(String, Vec<i64>)]| list.iter().cloned().collect::<BTreeMap<_, _>>();
        let ours = |trained: bool| -> BTreeMap<String, Vec<i64>> {
            let chosen = self.tensors.iter().filter(|(_, x)| x.requires_grad() == trained);
            chosen.map(|(name, x)| (name.clone(), x.size())).collect()
        };
        assert_eq!(ours(true), sorted(&names.parameters), "{case}: parameters");
        assert_eq!(ours(false), sorted(&names.buffers), "{case}: running statistics");
        assert_eq!(self.features, names.features.unwrap_or(self.features), "{case}: features");
    }
}

fn tensors(mut store: nn::VarStore, prefix: &str, kind: Kind) -> Named {
    if kind == Kind::Double {
        store.double();
    }
    let named = store.variables().into_iter();
    named.map(|(name, x)| (name.strip_prefix(prefix).unwrap().to_owned(), x)).collect()
}

/// Of the largest magnitude.
const FEATURES: f64 = 1e-9;
/// Of a gradient's norm, and of statistics.
const SUMMARY: f64 = 1e-8;

/// One mode of a case, forward and back; `expected` are the features.
fn compare_mode(
    comparison: &mut Comparison,
    name: &str,
    case: &Case,
    train: bool,
    network: &Network,
    expected: &Tensor,
) {
    network.fill();
    let Pass { loss: expected_loss, gradients } = if train { &case.train } else { &case.eval };
    let input = fill::symmetric("input", &case.input).set_requires_grad(true);
    let features = (network.forward)(&input, train);
    comparison.tensor(&format!("{name}.features"), &features, expected, FEATURES);

    let products = &features * fill::symmetric("cotangent", &features.size());
    let loss = products.sum(Kind::Double);
    let scale = products.abs().sum(Kind::Double).double_value(&[]);
    let value = loss.double_value(&[]);
    comparison.number(&format!("{name}.loss"), value, *expected_loss, scale, FEATURES);
    loss.backward();
    for (of, expected) in gradients {
        let name = format!("{name}.grad.{of}");
        let leaf = if of == "input" { &input } else { &network.tensors[of] };
        let before_norm = (of == "linear.bias" && network.tensors.contains_key("bn.weight"))
            || (case.kind.as_deref() == Some("mobilefacenet") && of == "blocks.11.conv.7.bias");
        if train && before_norm {
            // Batch norm takes out what a bias adds, also through a 1x1 convolution without padding:
            // zero but for rounding.
            let largest = leaf.grad().abs().max().double_value(&[]);
            comparison.number(&name, largest, 0.0, 1.0, 1e-12);
        } else {
            comparison.summary(&name, &leaf.grad(), expected, SUMMARY);
        }
    }
    for (key, expected) in &case.running {
        let name = format!("{name}.{key}");
        let tensor = &network.tensors[key];
        if train {
            comparison.summary(&name, tensor, expected, SUMMARY);
        } else {
            let filled = fill::parameter(key, &tensor.size());
            assert!(tensor.equal(&filled), "{name}: moved in evaluation mode");
        }
    }
}

/// Cases of `family`, whose output the fixtures call `output`; returns their number.
fn compare_all(
    family: &str,
    names: &str,
    output: &str,
    build: impl Fn(&Case, Kind) -> Network,
) -> usize {
    let cases: BTreeMap<String, Case> = read_json(&format!("{family}/cases.json"));
    let names: BTreeMap<String, Names> = read_json(&format!("{family}/{names}"));
    let expected = read_tensors(&format!("{family}/expected.safetensors"));
    let mut comparison = Comparison::default();
    for (name, case) in &cases {
        build(case, Kind::Double).assert_names(name, &names[name]);
        for train in [false, true] {
            let name = format!("{name}.{}", if train { "train" } else { "eval" });
            let network = build(case, Kind::Double);
            let expected = &expected[&format!("{name}.{output}")];
            compare_mode(&mut comparison, &name, case, train, &network, expected);
        }
    }
    comparison.finish();
    assert_eq!(names.len(), cases.len(), "names");
    cases.len()
}

#[test]
fn backbones_in_float64() {
    assert_eq!(compare_all("backbone", "names.json", "features", Network::backbone), 9, "cases");
}

/// The head's names stand in its cases.
#[test]
fn heads_in_float64() {
    assert_eq!(compare_all("head", "cases.json", "embedding", Network::head), 4, "cases");
}

/// Features of the evaluation mode, which is how embeddings are made.
#[test]
fn backbones_in_float32() {
    let cases: BTreeMap<String, Case> = read_json("backbone/cases.json");
    let expected = read_tensors("backbone/expected.safetensors");
    let mut comparison = Comparison::default();
    for (name, case) in &cases {
        let network = Network::backbone(case, Kind::Float);
        network.fill();
        let images = fill::symmetric("input", &case.input).to_kind(Kind::Float);
        let features = tch::no_grad(|| (network.forward)(&images, false));
        let key = format!("{name}.eval.features");
        assert_eq!(features.kind(), Kind::Float, "{key}");
        comparison.tensor(&key, &features, &expected[&key], 1e-5);
    }
    comparison.finish();
    assert_eq!(cases.len(), 9, "cases");
}

/// A tensor of `fill.json`.
#[derive(Deserialize)]
struct Filled {
    name: String,
    shape: Vec<i64>,
    fnv1a64: String,
    bits: Vec<String>,
    uniform: Vec<f64>,
    symmetric: Vec<f64>,
    parameter: Option<Vec<f64>>,
}

#[test]
fn the_fill_is_that_of_the_references() {
    let all: Vec<Filled> = read_json("backbone/fill.json");
    for Filled { name, shape, fnv1a64, bits, uniform, symmetric, parameter } in &all {
        assert_eq!(format!("{:016x}", fill::fnv1a64(name)), *fnv1a64, "{name}: hash");
        let ours: Vec<String> =
            fill::bits(name, shape).iter().map(|z| format!("{z:016x}")).collect();
        assert_eq!(ours, *bits, "{name}: bits");
        let flat = |tensor: Tensor| Vec::<f64>::try_from(tensor.reshape([-1])).unwrap();
        assert_eq!(flat(fill::uniform(name, shape)), *uniform, "{name}: uniform");
        assert_eq!(flat(fill::symmetric(name, shape)), *symmetric, "{name}: symmetric");
        if let Some(parameter) = parameter {
            assert_eq!(flat(fill::parameter(name, shape)), *parameter, "{name}: parameter");
        }
    }
    assert_eq!(all.len(), 9, "tensors");
}
