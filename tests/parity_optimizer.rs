//! Optimizers against `torch.optim`, states included: `tools/parity/optimizer.py`.

mod common;

use arcrun::checkpoint::{Named, read_weights, write_weights};
use arcrun::optimizer::Optimizer;
use common::{Comparison, assert_known, experiment, of_kind, read_json, read_tensors};
use serde::Deserialize;
use std::collections::BTreeSet;
use tch::{Kind, Tensor};
use toml::{Table, Value};

/// Cases of keys that arcrun lacks.
const SKIPPED: [&str; 3] = ["sgd_maximize", "adam_maximize", "adamw_maximize"];
const EXECUTED: usize = 16;
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
    /// The keys of `[optimizer]` for a group.
    fn keys(&self, group: &GroupCase) -> Table {
        let mut keys = of_kind(&self.kind, self.config.clone());
        assert_eq!(keys.remove("maximize"), Some(Value::Boolean(false)), "{}", self.name);
        if let Some(Value::Array(betas)) = keys.remove("betas") {
            keys.insert("beta1".into(), betas[0].clone());
            keys.insert("beta2".into(), betas[1].clone());
        }
        if let Some(decay) = group.weight_decay {
            keys.insert("weight_decay".into(), decay.into());
        }
        keys
    }
}

/// One group of parameters under its own optimizer.
struct Group {
    lr_scale: f64,
    parameters: Named,
    optimizer: Box<dyn Optimizer>,
}

/// A case in progress.
struct Run<'a> {
    case: &'a Case,
    gradients: &'a Named,
    groups: Vec<Group>,
}

impl<'a> Run<'a> {
    /// `values` holds the parameters by name, of the type that everything then has.
    fn new(case: &'a Case, gradients: &'a Named, values: &Named) -> Self {
        let group = |group: &GroupCase| {
            let leaf = |name: &String| values[name].copy().detach().set_requires_grad(true);
            let parameters: Named =
                group.params.iter().map(|name| (name.clone(), leaf(name))).collect();
            let shared = parameters.iter().map(|(name, leaf)| (name.clone(), leaf.shallow_clone()));
            let config = experiment("optimizer", &case.keys(group)).optimizer;
            let optimizer = config.build(shared.collect());
            Group { lr_scale: group.lr_scale, parameters, optimizer }
        };
        Run { case, gradients, groups: case.groups.iter().map(group).collect() }
    }

    /// Step `t` from 0: the prescribed gradients come out of a backward pass.
    fn step(&mut self, t: usize) {
        for group in &mut self.groups {
            for (name, leaf) in &group.parameters {
                let gradient = self.gradients[name].get(t as i64).to_kind(leaf.kind());
                (leaf * gradient).sum(leaf.kind()).backward();
            }
            let base = self.case.config["lr"].as_float().unwrap();
            let lr = base * self.case.lr_scale_per_step[t] * group.lr_scale;
            group.optimizer.step(lr).unwrap();
            group.optimizer.slots_mut().clear_gradients().unwrap();
            assert!(group.optimizer.slots().gradients().is_empty());
        }
    }

    fn parameters(&self) -> Named {
        let all = self.groups.iter().flat_map(|group| &group.parameters);
        all.map(|(name, leaf)| (name.clone(), leaf.detach())).collect()
    }

    fn state(&self) -> Named {
        self.groups.iter().flat_map(|group| group.optimizer.slots().state()).collect()
    }

    fn load_state(&mut self, state: &Named) {
        for group in &mut self.groups {
            let own = state.iter().filter(|(key, _)| {
                group.parameters.keys().any(|name| key.starts_with(&format!("{name}.")))
            });
            let own = own.map(|(key, tensor)| (key.clone(), tensor.shallow_clone())).collect();
            group.optimizer.slots_mut().load_state(&own).unwrap();
        }
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
