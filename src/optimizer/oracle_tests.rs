//! Every optimizer that runs on foreach kernels against its formula, written out one number at a
//! time, on random shapes, gradients and keys, in two groups, with a parameter that goes without a
//! gradient at times.

use super::groups::{Grouped, Member};
use super::{OptimizerConfig, adagrad, lamb, lars, lion, rmsprop};
use crate::torch::gradient;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

const STEPS: usize = 12;
const ROUNDS: u64 = 20;

/// One parameter with everything that its steps need.
struct Scalar {
    p: Vec<f64>,
    /// Steps done.
    t: i32,
    /// Slots by the optimizer's own order.
    state: [Vec<f64>; 3],
}

/// Rate and weight decay of the parameter in this step, and what all gradients are divided by.
struct Now {
    lr: f64,
    wd: f64,
    divisor: f64,
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// `ratio` unless a norm is 0.
fn trust(p: &[f64], u: &[f64], ratio: impl Fn(f64, f64) -> f64) -> f64 {
    let (p, u) = (norm(p), norm(u));
    if p > 0.0 && u > 0.0 { ratio(p, u) } else { 1.0 }
}

impl Scalar {
    fn step(&mut self, config: &OptimizerConfig, g: &[f64], Now { lr, wd, divisor }: Now) {
        let Scalar { p, t, state: [a, b, c] } = self;
        *t += 1;
        match config {
            OptimizerConfig::RmsProp(k) => {
                for i in 0..p.len() {
                    let g = g[i] + wd * p[i];
                    a[i] = k.alpha * a[i] + (1.0 - k.alpha) * g * g;
                    b[i] = k.alpha * b[i] + (1.0 - k.alpha) * g;
                    let mean = if k.centered { b[i] } else { 0.0 };
                    let scaled = g / ((a[i] - mean * mean).sqrt() + k.eps);
                    c[i] = k.momentum * c[i] + scaled;
                    p[i] -= lr * c[i];
                }
            }
            OptimizerConfig::Adagrad(k) => {
                let lr = lr / (1.0 + f64::from(*t - 1) * k.lr_decay);
                for i in 0..p.len() {
                    let g = g[i] + wd * p[i];
                    if *t == 1 {
                        a[i] = k.initial_accumulator_value;
                    }
                    a[i] += g * g;
                    p[i] -= lr * g / (a[i].sqrt() + k.eps);
                }
            }
            OptimizerConfig::Lion(k) => {
                for i in 0..p.len() {
                    let direction = k.beta1 * a[i] + (1.0 - k.beta1) * g[i];
                    let sign = if direction == 0.0 { 0.0 } else { direction.signum() };
                    p[i] -= lr * (sign + wd * p[i]);
                    a[i] = k.beta2 * a[i] + (1.0 - k.beta2) * g[i];
                }
            }
            OptimizerConfig::Lars(k) => {
                let mut ratio = trust(p, g, |p, g| k.trust_coefficient * p / (g + wd * p + k.eps));
                if k.trust_clip {
                    ratio = (ratio / lr).min(1.0);
                }
                let adapts = wd != 0.0 || k.always_adapt;
                for i in 0..p.len() {
                    let g = if adapts { ratio * (g[i] + wd * p[i]) } else { g[i] };
                    a[i] = if *t == 1 { g } else { k.momentum * a[i] + g };
                    p[i] -= lr * if k.nesterov { g + k.momentum * a[i] } else { a[i] };
                }
            }
            OptimizerConfig::Lamb(k) => {
                let mut u = Vec::new();
                for i in 0..p.len() {
                    let g = g[i] / divisor;
                    a[i] = k.beta1 * a[i] + (1.0 - k.beta1) * g;
                    b[i] = k.beta2 * b[i] + (1.0 - k.beta2) * g * g;
                    let mean = a[i] / (1.0 - k.beta1.powi(*t));
                    let square = b[i] / (1.0 - k.beta2.powi(*t));
                    u.push(mean / (square.sqrt() + k.eps) + wd * p[i]);
                }
                let mut ratio = trust(p, &u, |p, u| p / u);
                if k.trust_clip {
                    ratio = ratio.min(1.0);
                }
                let adapts = wd != 0.0 || k.always_adapt;
                for i in 0..p.len() {
                    p[i] -= lr * u[i] * if adapts { ratio } else { 1.0 };
                }
            }
            other => panic!("{} has its own tests", other.kind()),
        }
    }
}

/// Random keys for each optimizer, with its base weight decay.
fn configs(rng: &mut ChaCha8Rng) -> Vec<(OptimizerConfig, f64)> {
    let wd = rng.random_range(0.01..0.3);
    let lr = rng.random_range(1e-3..0.1);
    let momentum = [0.0, rng.random_range(0.1..0.95)][rng.random_range(0..2)];
    let (beta1, beta2) = (rng.random_range(0.5..0.95), rng.random_range(0.5..0.999));
    let rmsprop = rmsprop::RmsProp {
        lr,
        alpha: rng.random_range(0.5..0.99),
        eps: 1e-3,
        momentum,
        centered: rng.random(),
        weight_decay: wd,
    };
    let adagrad = adagrad::Adagrad {
        lr,
        lr_decay: rng.random_range(0.0..0.5),
        initial_accumulator_value: [0.0, rng.random_range(0.0..1.0)][rng.random_range(0..2)],
        eps: 1e-3,
        weight_decay: wd,
    };
    let lion = lion::Lion { lr, beta1, beta2, weight_decay: wd };
    let lars = lars::Lars {
        lr,
        momentum,
        nesterov: momentum > 0.0 && rng.random(),
        weight_decay: wd,
        trust_coefficient: rng.random_range(1e-3..0.2),
        eps: 1e-8,
        trust_clip: rng.random(),
        always_adapt: rng.random(),
    };
    let lamb = lamb::Lamb {
        lr,
        beta1,
        beta2,
        eps: 1e-3,
        weight_decay: wd,
        max_grad_norm: [0.0, rng.random_range(0.1..5.0)][rng.random_range(0..2)],
        trust_clip: rng.random(),
        always_adapt: rng.random(),
    };
    vec![
        (OptimizerConfig::RmsProp(rmsprop), wd),
        (OptimizerConfig::Adagrad(adagrad), wd),
        (OptimizerConfig::Lion(lion), wd),
        (OptimizerConfig::Lars(lars), wd),
        (OptimizerConfig::Lamb(lamb), wd),
    ]
}

/// Largest relative difference that is due to rounding: a dozen steps of a dozen operations, which
/// differ in their order, on values that cancel by a factor of a few hundred at most.
const TOLERANCE: f64 = 1e-11;

fn check(config: &OptimizerConfig, wd: f64, rng: &mut ChaCha8Rng) {
    // (shape, lr scale, decay scale, chance of a gradient)
    let members: [(&[i64], f64, f64, f64); 4] = [
        (&[3, 2, 3, 3], 1.0, 1.0, 1.0),
        (&[5, 4], 0.3, 2.0, 1.0),
        (&[7], 1.0, 0.0, 1.0),
        (&[2, 3], 1.0, 1.0, 0.5),
    ];
    let numel = |shape: &[i64]| shape.iter().product::<i64>() as usize;
    let mut draw = |n: usize| -> Vec<f64> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let mut scalars = Vec::new();
    let mut leaves = Vec::new();
    let mut grouped = Grouped::default();
    for (index, &(shape, lr_scale, weight_decay_scale, _)) in members.iter().enumerate() {
        let p = draw(numel(shape));
        let leaf = Tensor::from_slice(&p).reshape(shape);
        // Memory in another order than the gradients have.
        let leaf = if shape.len() == 4 {
            leaf.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
        } else {
            leaf
        };
        let leaf = leaf.set_requires_grad(true);
        let parameter = leaf.shallow_clone();
        let member = Member { parameter, lr_scale, weight_decay_scale };
        grouped.members.insert(format!("p{index}"), member);
        let zeros = vec![0.0; p.len()];
        scalars.push(Scalar { p, t: 0, state: [zeros.clone(), zeros.clone(), zeros] });
        leaves.push(leaf);
    }
    let mut optimizer = config.build(grouped);
    for step in 0..STEPS {
        let lr = config.lr() / (1.0 + 0.2 * step as f64);
        let gradients: Vec<Option<Vec<f64>>> = (members.iter())
            .map(|&(shape, _, _, chance)| {
                let has = draw(1)[0] < 2.0 * chance - 1.0;
                has.then(|| draw(numel(shape)))
            })
            .collect();
        let all: Vec<f64> = gradients.iter().flatten().flatten().copied().collect();
        let divisor = match config {
            OptimizerConfig::Lamb(k) if k.max_grad_norm > 0.0 => {
                (norm(&all) / k.max_grad_norm).max(1.0)
            }
            _ => 1.0,
        };
        for (index, gradient) in gradients.iter().enumerate() {
            let (shape, lr_scale, weight_decay_scale, _) = members[index];
            let Some(gradient) = gradient else { continue };
            let tensor = Tensor::from_slice(gradient).reshape(shape);
            (&leaves[index] * tensor).sum(Kind::Double).backward();
            let now = Now { lr: lr * lr_scale, wd: wd * weight_decay_scale, divisor };
            scalars[index].step(config, gradient, now);
        }
        optimizer.step(lr).unwrap();
        gradient::clear(&leaves).unwrap();
        for (index, (leaf, scalar)) in leaves.iter().zip(&scalars).enumerate() {
            let ours = Vec::<f64>::try_from(leaf.detach().contiguous().flatten(0, -1)).unwrap();
            let scale = norm(&scalar.p);
            for (ours, formula) in ours.iter().zip(&scalar.p) {
                let close = (ours - formula).abs() <= TOLERANCE * scale;
                assert!(close, "{config:?}, step {step}, p{index}: {ours} is not {formula}");
            }
        }
    }
}

#[test]
fn steps_are_the_formulas() {
    for round in 0..ROUNDS {
        let rng = &mut ChaCha8Rng::seed_from_u64(round);
        for (config, wd) in configs(rng) {
            check(&config, wd, rng);
        }
    }
}
