//! The gradient of every loss against finite differences of its value, in float64.

use arcrun::config::{Experiment, Family, load_str};
use arcrun::loss::{Loss, LossConfig, LossInput};
use tch::{Device, Kind, Tensor, nn};

const BATCH: i64 = 12;
const DIM: i64 = 7;
const CLASSES: i64 = 4;

/// What a kind needs beside its defaults. The detached gradients are not those of the value.
fn keys(kind: &str) -> &'static str {
    match kind {
        "sum" => "parts.a.loss.kind = 'arcface'\nparts.b = { weight = 0.5, loss.kind = 'supcon' }",
        // Pairs chosen at random must be the same in every evaluation.
        "triplet" => "selection = 'all'\nmargin = 0.7",
        _ => "",
    }
}

fn config(kind: &str) -> LossConfig {
    let text = format!("data.kind = 'synthetic_faces'\n[loss]\nkind = '{kind}'\n{}", keys(kind));
    load_str::<Experiment>("x.toml", &text, &[]).unwrap().experiment.loss
}

struct Setting {
    loss: Box<dyn Loss>,
    parameters: Vec<(String, Tensor)>,
    embedding: Tensor,
    text: Option<Tensor>,
    labels: Tensor,
    _store: nn::VarStore,
}

impl Setting {
    fn new(kind: &str) -> Setting {
        let config = config(kind);
        let mut store = nn::VarStore::new(Device::Cpu);
        let loss = config.build(&(store.root() / "loss"), DIM, CLASSES);
        store.double();
        let normal = |shape: &[i64]| Tensor::randn(shape, (Kind::Double, Device::Cpu));
        let mut parameters: Vec<(String, Tensor)> = store.variables().into_iter().collect();
        parameters.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, parameter) in &mut parameters {
            // Scalars (a logit scale) stay where they start.
            if parameter.dim() > 0 {
                tch::no_grad(|| parameter.copy_(&normal(&parameter.size())));
            }
        }
        let leaf = || normal(&[BATCH, DIM]).set_requires_grad(true);
        let text = config.needs().text.then(leaf);
        let labels = Tensor::arange(BATCH, (Kind::Int64, Device::Cpu)).remainder(CLASSES);
        Setting { loss, parameters, embedding: leaf(), text, labels, _store: store }
    }

    /// Validation: the state stays as it is.
    fn value(&mut self) -> Tensor {
        let Setting { loss, embedding, text, labels, .. } = self;
        let input = LossInput { embedding, labels, text: text.as_ref(), train: false };
        loss.forward(&input).unwrap().loss
    }

    fn leaves(&self) -> Vec<(String, Tensor)> {
        let mut leaves = vec![("embedding".to_string(), self.embedding.shallow_clone())];
        leaves.extend(self.text.iter().map(|text| ("text".to_string(), text.shallow_clone())));
        leaves.extend(self.parameters.iter().map(|(name, x)| (name.clone(), x.shallow_clone())));
        leaves
    }
}

/// A direction to move along. AdaFace takes the norm of an embedding as given: across it, then.
fn direction(kind: &str, name: &str, leaf: &Tensor) -> Tensor {
    let way = leaf.detach().randn_like();
    if kind != "adaface" || name != "embedding" {
        return way;
    }
    let unit = leaf.detach() / leaf.detach().norm_scalaropt_dim(2.0, [1i64].as_slice(), true);
    let along = (&way * &unit).sum_dim_intlist([1i64].as_slice(), true, Kind::Double);
    way - along * unit
}

/// Central differences with step h are off by h^2 / 6 of the third derivative and by rounding / h:
/// with h = 1e-6 both stay below 1e-8 of losses of this size, with scale 64.
#[test]
fn gradients_are_those_of_the_values() {
    const STEP: f64 = 1e-6;
    tch::manual_seed(3);
    let mut checked = Vec::new();
    for kind in LossConfig::family().kind_names() {
        if kind == "sphereface_r" {
            continue; // Its gradient goes around the margin by definition.
        }
        for round in 0..5 {
            let mut setting = Setting::new(kind);
            setting.value().backward();
            for (name, mut leaf) in setting.leaves() {
                let way = direction(kind, &name, &leaf);
                let slope = (leaf.grad() * &way).sum(Kind::Double).double_value(&[]);
                let mut at = |step: f64| {
                    tch::no_grad(|| {
                        let _ = leaf.g_add_(&(&way * step));
                    });
                    let value = setting.value().double_value(&[]);
                    tch::no_grad(|| {
                        let _ = leaf.g_sub_(&(&way * step));
                    });
                    value
                };
                let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                let scale = slope.abs().max(1.0);
                assert!(
                    (slope - difference).abs() < 1e-5 * scale,
                    "{kind}, {name}, round {round}: gradient {slope}, difference {difference}"
                );
                assert!(slope != 0.0, "{kind}, {name}: no gradient");
            }
        }
        checked.push(kind);
    }
    assert_eq!(checked.len() + 1, LossConfig::family().kind_names().len());
}

/// A batch in the middle of which nothing is left to learn still has a graph.
#[test]
fn a_loss_without_triplets_is_zero_and_goes_backward() {
    for selection in ["semi_hard_random", "semi_hard_hardest", "hard", "all", "vgg"] {
        let text = format!(
            "data.kind = 'synthetic_faces'\n[loss]\nkind = 'triplet'\nselection = '{selection}'"
        );
        let config = load_str::<Experiment>("x.toml", &text, &[]).unwrap().experiment.loss;
        let store = nn::VarStore::new(Device::Cpu);
        let mut loss = config.build(&store.root(), DIM, 1);
        let embedding =
            Tensor::randn([4, DIM], (Kind::Double, Device::Cpu)).set_requires_grad(true);
        // One identity: no negative; four identities: no positive.
        for labels in [[0i64, 0, 0, 0], [0, 1, 2, 3]] {
            let labels = Tensor::from_slice(&labels);
            let input =
                LossInput { embedding: &embedding, labels: &labels, text: None, train: true };
            let output = loss.forward(&input).unwrap();
            assert_eq!(output.loss.double_value(&[]), 0.0, "{selection}");
            output.loss.backward();
            assert_eq!(embedding.grad().abs().max().double_value(&[]), 0.0, "{selection}");
        }
    }
}

/// Half precision comes in under AMP; the loss itself is float32.
#[test]
fn half_precision_is_widened() {
    for kind in LossConfig::family().kind_names() {
        let config = config(kind);
        let store = nn::VarStore::new(Device::Cpu);
        let mut loss = config.build(&store.root(), DIM, CLASSES);
        let half = |_| Tensor::randn([BATCH, DIM], (Kind::Float, Device::Cpu)).to_kind(Kind::Half);
        let [embedding, text] = [0, 1].map(half);
        let labels = Tensor::arange(BATCH, (Kind::Int64, Device::Cpu)).remainder(CLASSES);
        let input = LossInput {
            embedding: &embedding,
            labels: &labels,
            text: config.needs().text.then_some(&text),
            train: true,
        };
        let output = loss.forward(&input).unwrap();
        assert_eq!(output.loss.kind(), Kind::Float, "{kind}");
        assert_eq!(output.values.len(), loss.columns().len(), "{kind}");
    }
}

#[test]
fn class_centres_are_of_losses_with_class_weights() {
    for kind in LossConfig::family().kinds {
        let Setting { loss, parameters, .. } = Setting::new(kind.name);
        let Some(centres) = loss.centres() else {
            assert!(["triplet", "supcon", "clip", "siglip"].contains(&kind.name), "{}", kind.name);
            continue;
        };
        assert_eq!(centres.size(), [CLASSES, DIM], "{}", kind.name);
        assert!(!centres.requires_grad(), "{}", kind.name);
        let weight = &parameters.iter().find(|(name, _)| name.ends_with("weight")).unwrap().1;
        if kind.name == "subcenter_arcface" {
            // Three rows for each class, the mean of their directions.
            let rows: Vec<Tensor> =
                (3..6).map(|row| weight.get(row)).map(|row| &row / row.norm()).collect();
            let mean = Tensor::stack(&rows, 0).mean_dim([0i64].as_slice(), false, Kind::Double);
            let off = (centres.get(1) - mean).abs().max().double_value(&[]);
            assert!(off < 1e-14, "{off:e}");
        } else {
            assert!(centres.equal(&weight.detach()), "{}", kind.name);
        }
    }
}
