//! Optimizers and parameter groups against `torch.optim` and timm, states included, and clipping
//! against `torch.nn.utils`: `tools/parity/optimizer.py`.

mod common;

use arcrun::backbone::BackboneConfig;
use arcrun::checkpoint::{Named, read_weights, write_weights};
use arcrun::optimizer::Optimizer;
use arcrun::optimizer::groups::{Groups, Rule};
use arcrun::torch::fused;
use arcrun::train::clip::Clip;
use common::{Comparison, assert_known, experiment, of_kind, read_json, read_tensors};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use tch::{Device, Kind, Tensor, nn};
use toml::{Table, Value};

/// Cases of keys that arcrun lacks.
const SKIPPED: [&str; 3] = ["sgd_maximize", "adam_maximize", "adamw_maximize"];
const EXECUTED: usize = 37;
const STEPS: usize = 50;

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    config: Table,
    groups: Vec<GroupCase>,
    lr_scale_per_step: Vec<f64>,
    /// Numbers of steps after which the parameters are known.
    recorded: Vec<usize>,
    /// Names of the state tensors of each parameter.
    state: Vec<String>,
}

#[derive(Deserialize)]
struct GroupCase {
    params: Vec<String>,
    weight_decay: Option<f64>,
    #[serde(default = "one")]
    lr_scale: f64,
}

fn one() -> f64 {
    1.0
}

impl Case {
    /// The keys of `[optimizer]`.
    fn keys(&self) -> Table {
        let mut keys = of_kind(&self.kind, self.config.clone());
        if let Some(maximize) = keys.remove("maximize") {
            assert_eq!(maximize, Value::Boolean(false), "{}", self.name);
        }
        if let Some(Value::Array(betas)) = keys.remove("betas") {
            keys.insert("beta1".into(), betas[0].clone());
            keys.insert("beta2".into(), betas[1].clone());
        }
        if let Some(trust) = keys.remove("trust_coeff") {
            keys.insert("trust_coefficient".into(), trust);
        }
        keys
    }

    /// A rule for each parameter.
    fn groups(&self) -> Groups {
        let decay = self.config["weight_decay"].as_float().unwrap();
        let rules = self.groups.iter().flat_map(|group| {
            let weight_decay_scale = group.weight_decay.map_or(1.0, |own| own / decay);
            let rule = move |name: &String| {
                let (r#match, lr_scale) = (name.clone(), group.lr_scale);
                (name.clone(), Rule { r#match, lr_scale, weight_decay_scale, frozen: false })
            };
            group.params.iter().map(rule)
        });
        Groups { rules: rules.collect(), ..Groups::default() }
    }
}

/// A case in progress.
struct Run<'a> {
    case: &'a Case,
    gradients: &'a Named,
    leaves: Named,
    optimizer: Box<dyn Optimizer>,
}

fn no_layers(name: &str) -> usize {
    panic!("{name} is of no backbone")
}

impl<'a> Run<'a> {
    /// `values` holds the parameters by name, of the type that everything then has.
    fn new(case: &'a Case, gradients: &'a Named, values: &Named) -> Self {
        let leaf = |value: &Tensor| value.copy().detach().set_requires_grad(true);
        let leaves: Named =
            values.iter().map(|(name, value)| (name.clone(), leaf(value))).collect();
        let shared = leaves.iter().map(|(name, leaf)| (name.clone(), leaf.shallow_clone()));
        let grouped = case.groups().apply(shared.collect(), &no_layers, &[]).unwrap();
        let optimizer = experiment("optimizer", &case.keys()).optimizer.build(grouped);
        Run { case, gradients, leaves, optimizer }
    }

    /// Step `t` from 0: the prescribed gradients come out of a backward pass.
    fn step(&mut self, t: usize) {
        for (name, leaf) in &self.leaves {
            let gradient = self.gradients[name].get(t as i64).to_kind(leaf.kind());
            (leaf * gradient).sum(leaf.kind()).backward();
        }
        let base = self.case.config["lr"].as_float().unwrap();
        self.optimizer.step(base * self.case.lr_scale_per_step[t]).unwrap();
        self.optimizer.slots_mut().clear_gradients().unwrap();
        assert!(self.optimizer.slots().gradients().is_empty());
    }

    fn parameters(&self) -> Named {
        self.leaves.iter().map(|(name, leaf)| (name.clone(), leaf.detach())).collect()
    }

    fn state(&self) -> Named {
        self.optimizer.slots().state()
    }

    fn load_state(&mut self, state: &Named) {
        self.optimizer.slots_mut().load_state(state).unwrap();
    }
}

struct Fixtures {
    cases: Vec<Case>,
    initial: Named,
    gradients: Named,
    expected: Named,
}

fn fixtures() -> Fixtures {
    let cases: Vec<Case> = read_json("optimizer/cases.json");
    assert_known(&SKIPPED, cases.iter().map(|case| case.name.as_str()));
    let inputs = read_tensors("optimizer/inputs.safetensors");
    let below = |prefix: &str| {
        let named =
            inputs.iter().filter_map(|(key, tensor)| Some((key.strip_prefix(prefix)?, tensor)));
        named.map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect()
    };
    let executed = cases.into_iter().filter(|case| !SKIPPED.contains(&case.name.as_str()));
    Fixtures {
        cases: executed.collect(),
        initial: below("initial."),
        gradients: below("gradient."),
        expected: read_tensors("optimizer/expected.safetensors"),
    }
}

/// `tolerance` is relative to the largest magnitude of a tensor.
fn compare_all(kind: Kind, tolerance: f64) {
    let Fixtures { cases, initial, gradients, expected } = fixtures();
    let initial = initial.into_iter().map(|(name, x)| (name, x.to_kind(kind))).collect();
    let mut comparison = Comparison::default();
    for case in &cases {
        let mut run = Run::new(case, &gradients, &initial);
        assert_eq!((case.lr_scale_per_step.len(), case.recorded.last()), (STEPS, Some(&STEPS)));
        for t in 0..STEPS {
            run.step(t);
            if !case.recorded.contains(&(t + 1)) {
                continue;
            }
            let parameters = run.parameters();
            assert_eq!(parameters.len(), initial.len(), "{}: parameters", case.name);
            for (name, parameter) in parameters {
                let key = format!("{}.step{}.{name}", case.name, t + 1);
                assert_eq!(parameter.kind(), kind, "{key}");
                comparison.tensor(&key, &parameter, &expected[&key], tolerance);
            }
        }
        let state = run.state();
        for (key, tensor) in &state {
            let key = format!("{}.state.{key}", case.name);
            // arcrun counts SGD's steps too, PyTorch does not.
            if key.ends_with(".step") {
                assert_eq!(tensor.int64_value(&[]), STEPS as i64, "{key}");
            } else {
                comparison.tensor(&key, tensor, &expected[&key], tolerance);
            }
        }
        let slots: BTreeSet<&str> =
            state.keys().map(|key| key.rsplit('.').next().unwrap()).collect();
        let reference = case.state.iter().map(String::as_str).chain(["step"]);
        assert_eq!(slots, reference.collect(), "{}: names of the state", case.name);
        assert_eq!(state.len(), slots.len() * initial.len(), "{}: state", case.name);
    }
    comparison.finish();
    assert_eq!(cases.len(), EXECUTED, "cases");
}

#[test]
fn parameters_and_states_in_float64() {
    compare_all(Kind::Double, 1e-12);
}

#[test]
fn parameters_and_states_in_float32() {
    compare_all(Kind::Float, 1e-5);
}

fn assert_same_bits(what: &str, ours: &Named, expected: &Named) {
    assert!(ours.keys().eq(expected.keys()), "{what}: names");
    let bits = |tensor: &Tensor| match tensor.kind() {
        Kind::Double => tensor.contiguous().view_dtype(Kind::Int64),
        _ => tensor.shallow_clone(),
    };
    for (name, tensor) in ours {
        assert_eq!(tensor.kind(), expected[name].kind(), "{what}.{name}: kind");
        assert!(bits(tensor).equal(&bits(&expected[name])), "{what}.{name}: bits");
    }
}

/// Parameters and state go through files after ten steps; a new optimizer goes on from them.
#[test]
fn a_saved_state_continues_bit_for_bit() {
    const SAVED: usize = 10;
    let Fixtures { cases, initial, gradients, .. } = fixtures();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    let through_file = |tensors: &Named| {
        write_weights(&path, tensors).unwrap();
        read_weights(&path).unwrap()
    };
    for case in &cases {
        let mut straight = Run::new(case, &gradients, &initial);
        (0..SAVED).for_each(|t| straight.step(t));
        let mut resumed = Run::new(case, &gradients, &through_file(&straight.parameters()));
        assert!(resumed.state().is_empty(), "{}: a new optimizer has no state", case.name);
        resumed.load_state(&through_file(&straight.state()));
        assert_same_bits(&case.name, &resumed.state(), &straight.state());
        for t in SAVED..STEPS {
            straight.step(t);
            resumed.step(t);
        }
        assert_same_bits(&case.name, &resumed.parameters(), &straight.parameters());
        assert_same_bits(&case.name, &resumed.state(), &straight.state());
    }
    assert_eq!(cases.len(), EXECUTED, "cases");
}

/// timm gives norms and biases no decay, and the classifier, which is no part of a backbone here,
/// the whole rate.
#[test]
fn layer_decay_of_resnets() {
    let models: BTreeMap<String, Vec<(String, f64, f64)>> = read_json("optimizer/layer_decay.json");
    assert_eq!(models.len(), 2);
    for (model, expected) in &models {
        let keys = of_kind(model, Table::new());
        let config: BackboneConfig = experiment("backbone", &keys).backbone;
        let store = nn::VarStore::new(Device::Cpu);
        let backbone = config.build(&(store.root() / "backbone"));
        let parameters = store.variables().into_iter().filter(|(_, x)| x.requires_grad());
        let groups =
            Groups { layer_decay: 0.7, norms_and_biases_decay: false, ..Groups::default() };
        let height = |name: &str| backbone.layers() - backbone.layer(name);
        let grouped = groups.apply(parameters.collect(), &height, &[]).unwrap();
        let expected = expected.iter().filter(|(name, ..)| !name.starts_with("fc."));
        let expected: BTreeMap<String, (f64, f64)> =
            expected.map(|(name, lr, decay)| (format!("backbone.{name}"), (*lr, *decay))).collect();
        assert!(grouped.members.keys().eq(expected.keys()), "{model}: names");
        let mut comparison = Comparison::default();
        for (name, member) in &grouped.members {
            let (lr, decay) = expected[name];
            comparison.number(name, member.lr_scale, lr, lr, 1e-15);
            assert_eq!(0.05 * member.weight_decay_scale, decay, "{model}, {name}");
        }
        comparison.finish();
    }
}

#[test]
fn clipping_by_norm_and_value() {
    #[derive(Deserialize)]
    struct Limits {
        norm: f64,
        value: f64,
        before: f64,
    }
    let cases: Vec<Limits> = read_json("optimizer/clipping.json");
    assert_eq!(cases.len(), 5);
    let expected = read_tensors("optimizer/clipping.safetensors");
    let Fixtures { gradients, .. } = fixtures();
    let mut comparison = Comparison::default();
    for (index, Limits { norm, value, before }) in cases.into_iter().enumerate() {
        let mut clipped: Vec<Tensor> = gradients.values().map(|all| all.get(0).copy()).collect();
        let ours = fused::grad_norm(&clipped).unwrap().double_value(&[]);
        comparison.number("norm", ours, before, before, 1e-15);
        Clip { norm, value }.apply(&mut clipped, ours);
        for (name, clipped) in gradients.keys().zip(&clipped) {
            let key = format!("{index}.{name}");
            comparison.tensor(&key, clipped, &expected[&key], 1e-15);
        }
    }
    comparison.finish();
}
