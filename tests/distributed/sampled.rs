//! Partial FC: a share of the classes in every training step.

use super::losses::{build, config, labels, step};
use super::{LIMIT, average, close, join, numbers, part, possible, ranks};
use arcrun::distributed::{enter, leave};
use arcrun::loss::sharded::collect;
use tch::{Device, Kind, Tensor};

const CLASSES: i64 = 40;
const KEYS: &str = "scale = 8.0\nshard = true\nsample_rate = 0.5";

/// The classes that a step looked at, by the gradient [C, D] of the weights.
fn looked_at(gradient: &Tensor) -> Vec<i64> {
    let any = gradient.abs().amax([1i64].as_slice(), false).gt(0.0);
    Vec::try_from(any.nonzero().squeeze_dim(1)).unwrap()
}

/// Loss, gradient of the embeddings and of the weights, over these classes alone, undivided.
fn restricted(classes: &[i64], embedding: &Tensor) -> (Tensor, Tensor, Tensor) {
    let index = Tensor::from_slice(classes);
    let weight = build(&config("cosface", "scale = 8.0"), CLASSES).parameters["weight"].detach();
    let mut small = build(&config("cosface", "scale = 8.0"), classes.len() as i64);
    tch::no_grad(|| {
        small.parameters["weight"].shallow_clone().copy_(&weight.index_select(0, &index))
    });
    let labels: Vec<i64> = Vec::try_from(labels(CLASSES)).unwrap();
    let place = |label: &i64| classes.binary_search(label).unwrap() as i64;
    let places: Vec<i64> = labels.iter().map(place).collect();
    let (output, rows) = step(&mut small, embedding, &Tensor::from_slice(&places), true);
    let mut gradient = weight.zeros_like();
    let _ = gradient.index_copy_(0, &index, &small.parameters["weight"].grad());
    (output.loss, rows, gradient)
}

#[test]
fn a_step_is_the_softmax_over_its_share() {
    let mut sampled = build(&config("cosface", KEYS), CLASSES);
    let embedding = numbers(30, &[8, 6]);
    let (mut seen, mut steps) = (std::collections::BTreeSet::new(), Vec::new());
    for seed in [1, 2, 1] {
        tch::manual_seed(seed);
        let (output, rows) = step(&mut sampled, &embedding, &labels(CLASSES), true);
        let gradient = sampled.parameters["weight"].grad();
        let classes = looked_at(&gradient);
        assert_eq!(classes.len(), 20);
        let (loss, expected_rows, expected) = restricted(&classes, &embedding);
        close("loss", &output.loss, &loss);
        close("embedding", &rows, &expected_rows);
        close("weights", &gradient, &expected);
        seen.extend(classes.iter().copied());
        steps.push(classes);
    }
    assert_eq!(steps[0], steps[2], "the seed decides");
    assert_ne!(steps[0], steps[1]);
    assert!(seen.len() > 20);

    // Validation looks at all classes.
    let mut whole = build(&config("cosface", "scale = 8.0"), CLASSES);
    let (output, _) = step(&mut sampled, &embedding, &labels(CLASSES), false);
    close(
        "validation",
        &output.loss,
        &step(&mut whole, &embedding, &labels(CLASSES), false).0.loss,
    );
}

#[test]
fn ranks_sample_their_own_classes() {
    if possible() {
        ranks(2, "sampled::one_rank");
        ranks(3, "sampled::one_rank");
    }
}

#[test]
#[ignore = "one rank of ranks_sample_their_own_classes"]
fn one_rank() {
    let group = join(LIMIT);
    let embedding = numbers(30, &[8, 6]);
    let (first, count) = part(&group, 8);
    enter(group.clone(), true);
    let mut own = build(&config("cosface", KEYS), CLASSES);
    tch::manual_seed(1);
    let rows = |all: &Tensor| all.narrow(0, first, count);
    let (output, own_rows) = step(&mut own, &rows(&embedding), &rows(&labels(CLASSES)), true);
    leave();
    let sharded = own.loss.sharded().remove(0);
    let mut gradient = collect(&group, &own.parameters["weight"].grad(), &sharded)
        .unwrap()
        .unwrap_or_else(|| Tensor::zeros([CLASSES, 6], (Kind::Double, Device::Cpu)));
    group.broadcast(&mut gradient, 0).unwrap();
    let (loss, expected_rows, expected) = restricted(&looked_at(&gradient), &embedding);
    close("loss", &average(&group, &output.loss), &loss);
    close("embedding", &(own_rows / group.size() as f64), &rows(&expected_rows));
    close("weights", &gradient, &expected);
}
