//! Backbones against torchvision, facenet-pytorch and PyTorch twins of the others, the head against
//! `torch.nn`: `tools/parity/backbone.py`.

mod common;

use arcrun::checkpoint::Named;
use common::{Comparison, experiment, fill, fixture, of_kind, read_json, read_tensors};
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
    /// Where they don't stand in a file of their own.
    features: Option<Summary>,
}

/// A few numbers that pin a tensor.
#[derive(Deserialize)]
struct Summary {
    first: Vec<f64>,
    sum: f64,
    sum_of_squares: f64,
}

/// [name, shape] each, in torch's order.
#[derive(Deserialize)]
struct Names {
    features: Option<i64>,
    #[serde(default)]
    parameters: Vec<(String, Vec<i64>)>,
    /// Running statistics and what else is not trained.
    #[serde(default)]
    buffers: Vec<(String, Vec<i64>)>,
    /// Instead of the two for large networks: their number, and a hash of their names and shapes.
    count: Option<usize>,
    fnv1a64: Option<String>,
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
        if let Some(hash) = &names.fnv1a64 {
            let role = |trained: bool| if trained { "parameters" } else { "buffers" };
            let line = |(name, x): (&String, &Tensor)| {
                format!("{name} {:?} {}", x.size(), role(x.requires_grad()))
            };
            let mut lines: Vec<String> = self.tensors.iter().map(line).collect();
            lines.sort();
            assert_eq!(Some(lines.len()), names.count, "{case}: tensors");
            let ours = format!("{:016x}", fill::fnv1a64(&lines.join("\n")));
            assert_eq!(ours, *hash, "{case}: a name or a shape of {lines:#?}");
        } else {
            assert_eq!(ours(true), sorted(&names.parameters), "{case}: parameters");
            assert_eq!(ours(false), sorted(&names.buffers), "{case}: running statistics");
        }
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

fn compare_summary(
    comparison: &mut Comparison,
    name: &str,
    ours: &Tensor,
    expected: &Summary,
    tolerance: f64,
) {
    let Summary { first, sum, sum_of_squares } = expected;
    let flat = ours.detach().reshape([-1]);
    let norm = sum_of_squares.sqrt();
    assert!(first.len() >= flat.numel().min(8), "{name}: elements");
    let mut number = |part: &str, ours: f64, expected: f64, scale: f64| {
        comparison.number(&format!("{name} {part}"), ours, expected, scale, tolerance);
    };
    for (i, &expected) in first.iter().enumerate() {
        number(&format!("[{i}]"), flat.double_value(&[i as i64]), expected, norm);
    }
    let total = |x: &Tensor| x.sum(Kind::Double).double_value(&[]);
    number("sum of squares", total(&flat.square()), *sum_of_squares, *sum_of_squares);
    number("sum", total(&flat), *sum, norm * (flat.numel() as f64).sqrt());
}

fn compare_features(
    comparison: &mut Comparison,
    name: &str,
    ours: &Tensor,
    expected: Option<&Tensor>,
    summary: Option<&Summary>,
    tolerance: f64,
) {
    let name = format!("{name}.features");
    match (expected, summary) {
        (Some(expected), None) => comparison.tensor(&name, ours, expected, tolerance),
        (None, Some(summary)) => compare_summary(comparison, &name, ours, summary, tolerance),
        _ => panic!("{name} stand in one place"),
    }
}

/// One mode of a case, forward and back; `expected` are the features where the case has none.
fn compare_mode(
    comparison: &mut Comparison,
    name: &str,
    case: &Case,
    train: bool,
    network: &Network,
    expected: Option<&Tensor>,
) {
    network.fill();
    let pass = if train { &case.train } else { &case.eval };
    let Pass { loss: expected_loss, gradients, features: summary } = pass;
    let input = fill::symmetric("input", &case.input).set_requires_grad(true);
    let features = (network.forward)(&input, train);
    compare_features(comparison, name, &features, expected, summary.as_ref(), FEATURES);

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
            compare_summary(comparison, &name, &leaf.grad(), expected, SUMMARY);
        }
    }
    for (key, expected) in &case.running {
        let name = format!("{name}.{key}");
        let tensor = &network.tensors[key];
        if train {
            compare_summary(comparison, &name, tensor, expected, SUMMARY);
        } else {
            let filled = fill::parameter(key, &tensor.size());
            assert!(tensor.equal(&filled), "{name}: moved in evaluation mode");
        }
    }
}

/// The features that stand in a file of their own.
fn expected(family: &str) -> Named {
    let name = format!("{family}/expected.safetensors");
    if fixture(&name).exists() { read_tensors(&name) } else { Named::new() }
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
    let expected = expected(family);
    let mut comparison = Comparison::default();
    for (name, case) in &cases {
        build(case, Kind::Double).assert_names(name, &names[name]);
        for train in [false, true] {
            let name = format!("{name}.{}", if train { "train" } else { "eval" });
            let network = build(case, Kind::Double);
            let expected = expected.get(&format!("{name}.{output}"));
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
    assert_eq!(compare_all("head", "cases.json", "embedding", Network::head), 10, "cases");
}

/// Features of the evaluation mode, which is how embeddings are made; returns the number of cases.
fn compare_in_float32(family: &str, tolerance: f64) -> usize {
    let cases: BTreeMap<String, Case> = read_json(&format!("{family}/cases.json"));
    let expected = expected(family);
    let mut comparison = Comparison::default();
    for (name, case) in &cases {
        let network = Network::backbone(case, Kind::Float);
        network.fill();
        let images = fill::symmetric("input", &case.input).to_kind(Kind::Float);
        let features = tch::no_grad(|| (network.forward)(&images, false));
        let name = format!("{name}.eval");
        assert_eq!(features.kind(), Kind::Float, "{name}");
        let expected = expected.get(&format!("{name}.features"));
        let summary = case.eval.features.as_ref();
        compare_features(&mut comparison, &name, &features, expected, summary, tolerance);
    }
    comparison.finish();
    cases.len()
}

#[test]
fn backbones_in_float32() {
    assert_eq!(compare_in_float32("backbone", 1e-5), 9, "cases");
}

/// A folder of cases for each file of `src/backbone`: in float64 both modes, forward and back, in
/// float32 the features.
fn both(file: &str, cases: usize) {
    // The tests share the cores: threads that wait for each other at each operation would be slower.
    tch::set_num_threads(1);
    let family = format!("backbone/{file}");
    let compared = compare_all(&family, "names.json", "features", Network::backbone);
    assert_eq!(compared, cases, "cases");
    assert_eq!(compare_in_float32(&family, 1e-5), cases, "cases");
}

#[test]
fn resnet() {
    both("resnet", 3);
}

#[test]
fn iresnet() {
    both("iresnet", 5);
}

#[test]
fn mbf() {
    both("mbf", 2);
}

#[test]
fn inception_resnet_v1() {
    both("inception_resnet_v1", 1);
}

#[test]
fn efficientnet_b0() {
    both("efficientnet_b0", 2);
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
        let ours = Vec::<i64>::try_from(fill::bits(name, shape).reshape([-1])).unwrap();
        let ours: Vec<String> = ours.iter().map(|z| format!("{z:016x}")).collect();
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
