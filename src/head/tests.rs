//! What of the head the parity fixtures don't show: starts, dropout, keys that don't fit.

use super::*;
use crate::config::{Experiment, load_str};
use crate::loss::LossInput;
use std::collections::BTreeMap;
use tch::{Device, Kind};

fn experiment(keys: &str) -> Experiment {
    let text = format!("data.kind = \"synthetic_faces\"\n{keys}");
    load_str("x.toml", &text, &[]).unwrap().experiment
}

/// The head over 12 features, and its tensors.
fn built(keys: &str) -> (Head, BTreeMap<String, Tensor>) {
    let store = nn::VarStore::new(Device::Cpu);
    let head = experiment(keys).head.build(&(store.root() / "head"), 12);
    (head, store.variables().into_iter().collect())
}

fn features() -> Tensor {
    Tensor::randn([6, 12], (Kind::Float, Device::Cpu))
}

fn wrong(keys: &str) -> Vec<(&'static str, String)> {
    let experiment = experiment(keys);
    experiment.head.validate(&experiment.backbone, &experiment.loss)
}

#[test]
fn a_fixed_scale_is_one_and_does_not_train() {
    let (_, tensors) = built("head.batch_norm = true\nhead.batch_norm_scale = false");
    let weight = &tensors["head.bn.weight"];
    assert!(!weight.requires_grad() && weight.equal(&weight.ones_like()));
    assert!(tensors["head.bn.bias"].requires_grad());
    let (_, tensors) = built("head.batch_norm = true");
    assert!(tensors["head.bn.weight"].requires_grad());
}

#[test]
fn the_default_is_a_linear_layer_alone() {
    let (_, tensors) = built("");
    assert_eq!(tensors.keys().collect::<Vec<_>>(), ["head.linear.bias", "head.linear.weight"]);
    assert_eq!(tensors["head.linear.weight"].size(), [512, 12]);
}

#[test]
fn the_projection_head_has_its_width_and_drops_while_training() {
    let keys = "head.projection = \"mlp\"\nhead.embedding_dim = 8\nhead.dropout = 0.5";
    let (head, tensors) = built(keys);
    assert!(!tensors.contains_key("head.skip.weight"));
    let x = features();
    assert_eq!(head.forward(&x, false), head.forward(&x, false));
    assert_ne!(head.forward(&x, true), head.forward(&x, true));
    let (_, tensors) = built(&format!("{keys}\nhead.hidden_dim = 20"));
    let shape = |name: &str| tensors[name].size();
    assert_eq!(shape("head.projection.weight"), [20, 12]);
    assert_eq!((shape("head.fc.weight"), shape("head.skip.weight")), (vec![8, 20], vec![8, 20]));
}

/// Unit length, and a cosine loss that does not notice.
#[test]
fn unit_length_changes_no_cosine_loss() {
    let store = nn::VarStore::new(Device::Cpu);
    let mut arcface = experiment("").loss.build(&(store.root() / "loss"), 12, 4);
    let labels = Tensor::from_slice(&[0i64, 1, 2, 3, 0, 1]);
    let mut loss = |embedding: &Tensor| {
        let input = LossInput { embedding, labels: &labels, text: None, train: true };
        arcface.forward(&input).unwrap().loss.double_value(&[])
    };
    let keys = "head.projection = \"none\"\nhead.embedding_dim = 12";
    let (x, (head, _)) = (features(), built(&format!("{keys}\nhead.normalize = true")));
    let unit = head.forward(&x, true);
    let norms = unit.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
    assert!((norms - 1.0).abs().max().double_value(&[]) < 1e-6);
    let (ours, expected) = (loss(&unit), loss(&x));
    assert!((ours - expected).abs() < 1e-4 * expected, "{ours} for {expected}");
    // Half precision would leave the length to chance.
    assert_eq!(head.forward(&x.to_kind(Kind::BFloat16), true).kind(), Kind::Float);
}

#[test]
fn keys_that_do_not_fit_are_named() {
    assert_eq!(wrong(""), []);
    let none = "head.projection = \"none\"\nhead.embedding_dim = 512";
    for (keys, key, says) in [
        ("head.projection = \"none\"\nhead.embedding_dim = 64".to_string(), "embedding_dim", "512"),
        ("head.hidden_dim = 64".to_string(), "hidden_dim", "head.projection = \"mlp\""),
        (format!("{none}\nhead.bias = false"), "bias", "no layer that could have one"),
        (
            "head.projection = \"mlp\"\nhead.batch_norm = true".to_string(),
            "batch_norm",
            "ends in a layer norm",
        ),
        ("head.batch_norm_scale = false".to_string(), "batch_norm_scale", "head.batch_norm = true"),
        (
            "head.normalize = true\nloss.kind = \"adaface\"".to_string(),
            "normalize",
            "\"adaface\" goes by the lengths",
        ),
    ] {
        let found = wrong(&keys);
        assert!(found.len() == 1 && found[0].0 == key, "{keys}: {found:?}");
        assert!(found[0].1.contains(says), "{keys}: {found:?}");
    }
    let of_sum = "head.normalize = true\nloss.kind = \"sum\"\n\
                  loss.parts.a.loss.kind = \"sphereface\"";
    assert_eq!(wrong(of_sum)[0].0, "normalize");
    assert_eq!(wrong("head.normalize = true\nloss.kind = \"cosface\""), []);
}
