//! Losses over pairs: each rank compares the samples of all.

use super::losses::config;
use super::{LIMIT, average, close, join, numbers, part, possible, ranks};
use arcrun::distributed::{Reduction, enter, leave};
use arcrun::loss::{LossInput, LossOutput};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor, nn};

const LOSSES: [(&str, &str); 8] = [
    ("triplet", "selection = 'hard'\nmargin = 1.0"),
    ("triplet", "selection = 'semi_hard_hardest'\nmean = 'positive_pairs'"),
    ("triplet", "selection = 'semi_hard_random'\nmargin = 2.0"),
    ("triplet", "selection = 'all'\ndistance = 'euclidean'\nmean = 'nonzero'"),
    ("supcon", ""),
    ("clip", ""),
    ("siglip", ""),
    (
        "sum",
        "[parts.a]\nloss = { kind = 'supcon' }\n[parts.b]\nweight = 2.0\nloss = { kind = 'cosface' }",
    ),
];

/// What a loss says of these rows, with the gradients of images, texts and parameters.
fn run(
    kind: &str,
    keys: &str,
    [image, text]: [&Tensor; 2],
    labels: &Tensor,
) -> (LossOutput, [Tensor; 2], BTreeMap<String, Tensor>) {
    let mut store = nn::VarStore::new(Device::Cpu);
    tch::manual_seed(7);
    let mut loss = config(kind, keys).build(&store.root(), 6, 4);
    store.double();
    let [image, text] = [image, text].map(|rows| rows.copy().set_requires_grad(true));
    let input = LossInput { embedding: &image, labels, text: Some(&text), train: true };
    tch::manual_seed(8);
    let output = loss.forward(&input).unwrap();
    output.loss.backward();
    let text_gradient = if text.grad().defined() { text.grad() } else { text.zeros_like() };
    let parameters = store.variables().into_iter().map(|(name, value)| (name, value.grad()));
    (output, [image.grad(), text_gradient.detach()], parameters.collect())
}

#[test]
fn losses_over_pairs_see_the_samples_of_all_ranks() {
    if possible() {
        ranks(2, "pairs::one_rank");
        ranks(3, "pairs::one_rank");
    }
}

#[test]
#[ignore = "one rank of losses_over_pairs_see_the_samples_of_all_ranks"]
fn one_rank() {
    let group = join(LIMIT);
    let size = group.size() as f64;
    let (image, text) = (numbers(1, &[12, 6]), numbers(2, &[12, 6]));
    let labels = Tensor::arange(12, (Kind::Int64, Device::Cpu)).remainder(4);
    let (first, count) = part(&group, 12);
    let rows = |all: &Tensor| all.narrow(0, first, count);
    for (kind, keys) in LOSSES {
        let (expected, [images, texts], parameters) = run(kind, keys, [&image, &text], &labels);
        enter(group.clone(), true);
        let own = run(kind, keys, [&rows(&image), &rows(&text)], &rows(&labels));
        leave();
        let (output, own_rows, own_parameters) = own;
        close(&format!("{kind}: loss"), &average(&group, &output.loss), &expected.loss);
        close(&format!("{kind}: images"), &(&own_rows[0] / size), &rows(&images));
        close(&format!("{kind}: texts"), &(&own_rows[1] / size), &rows(&texts));
        for (name, expected) in &parameters {
            close(&format!("{kind}: {name}"), &average(&group, &own_parameters[name]), expected);
        }
        let correct = group.reduce_numbers(&[output.correct.double_value(&[])], Reduction::Sum);
        assert_eq!(correct.unwrap()[0], expected.correct.double_value(&[]), "{kind}");
        for (got, expected) in output.values.iter().zip(&expected.values) {
            close(&format!("{kind}: value"), &average(&group, got), expected);
        }
    }
}
