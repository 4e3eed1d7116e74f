//! Losses against slow loops over plain numbers, on random batches of random shapes.

use arcrun::config::{Experiment, load_str};
use arcrun::loss::{LossConfig, LossInput};
use arcrun::random::{Stream, derive};
use std::f64::consts::PI;
use tch::{Device, Kind, Tensor, nn};

/// Rows of numbers.
type Rows = Vec<Vec<f64>>;

/// One random batch.
struct Batch {
    embedding: Rows,
    weight: Rows,
    labels: Vec<usize>,
    classes: usize,
}

/// Uniform numbers of a round, in [-1, 1).
struct Dice {
    round: u64,
    drawn: u64,
}

impl Dice {
    fn next(&mut self) -> f64 {
        self.drawn += 1;
        let bits = derive(11, Stream::Init, self.round, self.drawn);
        (bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (((self.next() + 1.0) / 2.0) * bound as f64) as usize
    }

    fn rows(&mut self, count: usize, dim: usize) -> Rows {
        (0..count).map(|_| (0..dim).map(|_| 3.0 * self.next()).collect()).collect()
    }
}

impl Batch {
    fn new(round: u64, centres: usize) -> Batch {
        let mut dice = Dice { round, drawn: 0 };
        let (size, classes, dim) = (1 + dice.below(9), 1 + dice.below(6), 2 + dice.below(7));
        Batch {
            embedding: dice.rows(size, dim),
            weight: dice.rows(classes * centres, dim),
            labels: (0..size).map(|_| dice.below(classes)).collect(),
            classes,
        }
    }

    /// Largest cosine to the sub-centres of each class.
    fn cosines(&self, row: usize) -> Vec<f64> {
        let centres = self.weight.len() / self.classes;
        let cosines: Vec<f64> =
            self.weight.iter().map(|w| cosine(&self.embedding[row], w)).collect();
        cosines.chunks(centres).map(|c| c.iter().copied().fold(f64::MIN, f64::max)).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn length(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b) / (length(a) * length(b))
}

fn cross_entropy(logits: &[f64], target: usize) -> f64 {
    let sum: f64 = logits.iter().map(|logit| (logit - logits[target]).exp()).sum();
    sum.ln()
}

/// Mean over the batch of the cross-entropy over `scale(row)` x what `change` makes of the cosines.
fn softmax(
    batch: &Batch,
    scale: impl Fn(usize) -> f64,
    change: impl Fn(usize, &mut Vec<f64>, usize),
) -> f64 {
    let losses = (0..batch.labels.len()).map(|row| {
        let (mut cosines, target) = (batch.cosines(row), batch.labels[row]);
        change(row, &mut cosines, target);
        let logits: Vec<f64> = cosines.iter().map(|c| c * scale(row)).collect();
        cross_entropy(&logits, target)
    });
    losses.sum::<f64>() / batch.labels.len() as f64
}

fn margin(batch: &Batch, scale: f64, target: impl Fn(f64) -> f64) -> f64 {
    softmax(batch, |_| scale, |_, cosines, y| cosines[y] = target(cosines[y]))
}

fn ours(batch: &Batch, keys: &str, train: bool) -> f64 {
    let text = format!("data.kind = 'synthetic_faces'\n[loss]\n{keys}");
    let config: LossConfig = load_str::<Experiment>("x.toml", &text, &[]).unwrap().experiment.loss;
    let mut store = nn::VarStore::new(Device::Cpu);
    let dim = batch.embedding[0].len() as i64;
    let mut loss = config.build(&(store.root() / "loss"), dim, batch.classes as i64);
    store.double();
    let tensor = |rows: &Rows| Tensor::from_slice2(rows);
    for (_, mut parameter) in store.variables() {
        tch::no_grad(|| parameter.copy_(&tensor(&batch.weight)));
    }
    let labels: Vec<i64> = batch.labels.iter().map(|label| *label as i64).collect();
    let (embedding, labels) = (tensor(&batch.embedding), Tensor::from_slice(&labels));
    assert_eq!(embedding.kind(), Kind::Double);
    let input = LossInput { embedding: &embedding, labels: &labels, text: None, train };
    loss.forward(&input).unwrap().loss.double_value(&[])
}

/// psi of A-Softmax for m = `margin`.
fn psi(cosine: f64, margin: f64) -> f64 {
    let angle = cosine.acos() * margin;
    let k = (angle / PI).floor();
    (if k as i64 % 2 == 0 { 1.0 } else { -1.0 }) * angle.cos() - 2.0 * k
}

fn line(cosine: f64, margin: f64) -> f64 {
    match cosine.acos() + margin <= PI {
        true => (cosine.acos() + margin).cos(),
        false => cosine - margin * (PI - margin).sin(),
    }
}

#[track_caller]
fn compare(keys: &str, centres: usize, train: bool, oracle: impl Fn(&Batch) -> f64) {
    for round in 0..200 {
        let batch = Batch::new(round, centres);
        let (ours, expected) = (ours(&batch, keys, train), oracle(&batch));
        // acos near 1 loses half the digits of 1e-16; scale 64 stands on top.
        let close = (ours - expected).abs() <= 1e-9 * expected.abs().max(1.0);
        assert!(close, "{keys}, round {round}: {ours} instead of {expected}");
    }
}

#[test]
fn margins_on_scaled_cosines() {
    compare("kind = 'norm_softmax'\nscale = 20", 1, true, |b| margin(b, 20.0, |c| c));
    compare("kind = 'cosface'\nscale = 30\nmargin = 0.4", 1, true, |b| {
        margin(b, 30.0, |c| c - 0.4)
    });
    compare("kind = 'arcface'\nscale = 64\nmargin = 0.5", 1, true, |b| {
        margin(b, 64.0, |c| line(c, 0.5))
    });
    compare("kind = 'arcface'\nscale = 16\nmargin = 0.7\neasy_margin = true", 1, true, |b| {
        margin(b, 16.0, |c| if c > 0.0 { (c.acos() + 0.7).cos() } else { c })
    });
    compare("kind = 'arcface'\nscale = 16\nmargin = 0.7\nboundary = 'clip'", 1, true, |b| {
        margin(b, 16.0, |c| (c.acos() + 0.7).min(PI).cos())
    });
    compare("kind = 'combined'\nm1 = 0.9\nm2 = 0.4\nm3 = 0.15", 1, true, |b| {
        margin(b, 64.0, |c| (0.9 * c.acos() + 0.4).cos() - 0.15)
    });
    compare("kind = 'multiplicative'\nmargin = 1.35", 1, true, |b| {
        margin(b, 64.0, |c| (1.35 * c.acos()).cos())
    });
    compare("kind = 'sphereface_r'\nscale = 30\nmargin = 1.7", 1, true, |b| {
        margin(b, 30.0, |c| psi(c, 1.7))
    });
    compare("kind = 'subcenter_arcface'\nsubcenters = 3", 3, true, |b| {
        margin(b, 64.0, |c| line(c, 0.5))
    });
}

#[test]
fn sphereface_in_its_first_step_and_in_validation() {
    for (train, lambda) in [(true, 1000.0 / 1.12), (false, 5.0)] {
        compare("kind = 'sphereface'\nmargin = 4", 1, train, |b| {
            softmax(
                b,
                |row| length(&b.embedding[row]),
                |_, cosines, y| {
                    cosines[y] = (lambda * cosines[y] + psi(cosines[y], 4.0)) / (1.0 + lambda);
                },
            )
        });
    }
}

#[test]
fn curricularface_in_its_first_step() {
    compare("kind = 'curricularface'", 1, true, |b| {
        let targets = (0..b.labels.len()).map(|row| b.cosines(row)[b.labels[row]]);
        let t = 0.01 * targets.sum::<f64>() / b.labels.len() as f64;
        softmax(
            b,
            |_| 64.0,
            |_, cosines, y| {
                let hard = (cosines[y].acos() + 0.5).cos();
                let target = line(cosines[y], 0.5);
                for c in cosines.iter_mut().filter(|c| **c > hard) {
                    *c *= t + *c;
                }
                cosines[y] = target;
            },
        )
    });
}

#[test]
fn adaface_in_its_first_step() {
    compare("kind = 'adaface'", 1, true, |b| {
        let norms: Vec<f64> = b.embedding.iter().map(|e| length(e).clamp(1e-3, 100.0)).collect();
        let (count, mean) = (norms.len() as f64, norms.iter().sum::<f64>() / norms.len() as f64);
        let squares: f64 = norms.iter().map(|n| (n - mean).powi(2)).sum();
        let running = 0.01 * mean + 0.99 * 20.0;
        let std = match norms.len() {
            1 => 100.0,
            _ => 0.01 * (squares / (count - 1.0)).sqrt() + 0.99 * 100.0,
        };
        softmax(
            b,
            |_| 64.0,
            |row, cosines, y| {
                let z = ((norms[row] - running) / (std + 1e-3) * 0.333).clamp(-1.0, 1.0);
                cosines.iter_mut().for_each(|c| *c = c.clamp(-0.999, 0.999));
                let angle = (cosines[y].acos() - 0.4 * z).clamp(1e-3, PI - 1e-3);
                cosines[y] = angle.cos() - (0.4 + 0.4 * z);
            },
        )
    });
}

/// (anchor, positive) -> d(a, p) and the distances to the negatives, squared.
fn pairs(batch: &Batch) -> Vec<(f64, Vec<f64>)> {
    let distance =
        |a: usize, b: usize| 2.0 - 2.0 * cosine(&batch.embedding[a], &batch.embedding[b]);
    let all = 0..batch.labels.len();
    let mut pairs = Vec::new();
    for (a, p) in all.clone().flat_map(|a| all.clone().map(move |p| (a, p))) {
        if a != p && batch.labels[a] == batch.labels[p] {
            let other = |n: &usize| batch.labels[*n] != batch.labels[a];
            let negatives = all.clone().filter(other).map(|n| distance(a, n)).collect();
            pairs.push((distance(a, p), negatives));
        }
    }
    pairs
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[test]
fn triplets() {
    let all = "kind = 'triplet'\nmargin = 0.3\nselection = 'all'";
    compare(all, 1, true, |b| {
        let hinges: Vec<f64> = (pairs(b).iter())
            .flat_map(|(ap, negatives)| negatives.iter().map(move |an| (ap - an + 0.3).max(0.0)))
            .collect();
        mean(&hinges)
    });
    compare("kind = 'triplet'\nmargin = 0.3\nselection = 'semi_hard_hardest'", 1, true, |b| {
        let hinges: Vec<f64> = (pairs(b).iter())
            .filter(|(_, negatives)| !negatives.is_empty())
            .map(|(ap, negatives)| {
                let beyond = negatives.iter().copied().filter(|an| an > ap);
                let nearest = beyond.fold(f64::INFINITY, f64::min);
                let farthest = negatives.iter().copied().fold(f64::MIN, f64::max);
                let an = if nearest.is_finite() { nearest } else { farthest };
                (ap - an + 0.3).max(0.0)
            })
            .collect();
        mean(&hinges)
    });
}

/// A random semi-hard negative gives a hinge between 0 and the margin, for as many pairs as have one.
#[test]
fn random_semi_hard_negatives_are_within_the_margin() {
    for round in 0..200 {
        let batch = Batch::new(round, 1);
        let loss = ours(&batch, "kind = 'triplet'\nmargin = 0.3", true);
        let bounds: Vec<(f64, f64)> = (pairs(&batch).iter())
            .filter_map(|(ap, negatives)| {
                let within = negatives.iter().filter(|an| ap < an && **an < ap + 0.3);
                let hinges: Vec<f64> = within.map(|an| ap - an + 0.3).collect();
                let least = hinges.iter().copied().reduce(f64::min)?;
                Some((least, hinges.iter().copied().fold(f64::MIN, f64::max)))
            })
            .collect();
        let least = mean(&bounds.iter().map(|(least, _)| *least).collect::<Vec<_>>());
        let most = mean(&bounds.iter().map(|(_, most)| *most).collect::<Vec<_>>());
        let inside = loss >= least - 1e-12 && loss <= most + 1e-12;
        assert!(inside, "round {round}: {loss} is not in [{least}, {most}]");
    }
}

#[test]
fn supcon() {
    compare("kind = 'supcon'\ntemperature = 0.1", 1, true, |b| {
        let all = 0..b.labels.len();
        let logit = |i: usize, j: usize| cosine(&b.embedding[i], &b.embedding[j]) / 0.1;
        let losses: Vec<f64> = all
            .clone()
            .filter_map(|i| {
                let others: Vec<usize> = all.clone().filter(|j| *j != i).collect();
                let positives: Vec<usize> =
                    others.iter().copied().filter(|j| b.labels[*j] == b.labels[i]).collect();
                (!positives.is_empty()).then(|| {
                    let sum: f64 = others.iter().map(|j| logit(i, *j).exp()).sum();
                    let terms: Vec<f64> =
                        positives.iter().map(|p| sum.ln() - logit(i, *p)).collect();
                    mean(&terms)
                })
            })
            .collect();
        mean(&losses)
    });
}
