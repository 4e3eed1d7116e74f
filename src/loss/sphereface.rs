//! SphereFace: A-Softmax with its annealing, as in the official Caffe code (Liu et al. 2017,
//! arXiv:1704.08063, eq. 6 and 7; the lambda schedule of that code).
//!
//! Class weights are brought to unit norm before every training forward, the embedding keeps its
//! norm, there is no scale. Target logit |x| (lambda cos th + psi(th)) / (1 + lambda), the others
//! |x| cos th; psi(th) = (-1)^k cos(m th) - 2 k, k = floor(m th / pi);
//! lambda = max(lambda_min, lambda_base (1 + lambda_gamma it)^-lambda_power), `it` counted before
//! its use. cos(m th) is the Chebyshev polynomial T_m(cos th), so its slope is finite everywhere.
//!
//! Reference: the formula in PyTorch, whose forward is the Caffe layer's. Differs from Caffe in:
//! the gradient is the loss's own; Caffe's backward is another one.

use super::margin::{CosineClassifier, Gradient, Scale, Softmax, angle};
use super::sharded::{Partition, ShardedRows};
use super::sphereface_r::turns;
use super::{Loss, LossInput, LossOutput, LossPart, read_state};
use crate::Result;
use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

crate::config_struct! {
    /// SphereFace: A-Softmax, annealed as in the official code (Liu et al. 2017, arXiv:1704.08063).
    pub struct SphereFace {
        /// Factor `m` on the target's angle, an integer.
        pub margin: usize = 4, between(1, 16);
        /// `lambda` before the first step: the weight of the plain cosine.
        pub lambda_base: f64 = 1000.0, non_negative();
        /// How fast `lambda` falls with the steps.
        pub lambda_gamma: f64 = 0.12, non_negative();
        /// Exponent of the fall.
        pub lambda_power: f64 = 1.0, non_negative();
        /// Least `lambda`; validation always uses it.
        pub lambda_min: f64 = 5.0, non_negative();
        /// Divide the class weights over the processes, none of which then holds all logits.
        pub shard: bool = false;
        /// Share of the classes that a training step looks at, those of the batch among them (Partial FC,
        /// arXiv:2203.15565); below 1 it needs `shard`.
        pub sample_rate: f64 = 1.0, between(0.0, 1.0);
    }
}

#[derive(Debug)]
struct Built {
    config: SphereFace,
    classifier: CosineClassifier,
    state: State,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    /// Optimizer steps done.
    iteration: u64,
}

impl LossPart for SphereFace {
    fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let classifier = CosineClassifier::new(path, dim, classes, self.partition());
        Box::new(Built { config: self.clone(), classifier, state: State::default() })
    }

    fn reads_norms(&self) -> bool {
        true
    }

    fn partition(&self) -> Partition {
        Partition { shard: self.shard, sample_rate: self.sample_rate }
    }
}

impl Built {
    /// In the step under way, counted from 1.
    fn lambda(&self) -> f64 {
        let SphereFace {
            margin: _,
            lambda_base,
            lambda_gamma,
            lambda_power,
            lambda_min,
            shard: _,
            sample_rate: _,
        } = self.config;
        let falling = 1.0 + lambda_gamma * (self.state.iteration + 1) as f64;
        lambda_min.max(lambda_base * falling.powf(-lambda_power))
    }

    fn softmax(&self, input: &LossInput<'_>, lambda: f64) -> Result<LossOutput> {
        // Validation leaves the weights alone, which an optimizer step has moved off unit norm.
        let scale = match input.train {
            true => Scale::EmbeddingNorm,
            false => Scale::EmbeddingNormOnly,
        };
        let how = Softmax { scale, gradient: Gradient::Exact, clip: 0.0 };
        let margin = self.config.margin;
        self.classifier.softmax(input, how, |cosine_b| {
            (cosine_b * lambda + psi(cosine_b, margin)) / (1.0 + lambda)
        })
    }
}

/// psi(th) of A-Softmax (eq. 7) as a function of cos th.
///
/// # Shapes
/// `[B]` to `[B]`.
fn psi(cosine_b: &Tensor, margin: usize) -> Tensor {
    let (sign_b, twice_b) = turns(&(angle(&cosine_b.detach()) * margin as f64));
    sign_b * chebyshev(cosine_b, margin) - twice_b
}

/// T_m(cos th) = cos(m th), by its recurrence.
fn chebyshev(cosine_b: &Tensor, degree: usize) -> Tensor {
    let (mut before, mut last) = (cosine_b.ones_like(), cosine_b.shallow_clone());
    for _ in 1..degree {
        let next = cosine_b * &last * 2.0 - &before;
        (before, last) = (last, next);
    }
    last
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let last = self.config.lambda_min;
        let lambda = if input.train {
            self.classifier.project();
            self.lambda()
        } else {
            last
        };
        let mut output = self.softmax(input, lambda)?;
        if lambda > last {
            // An easy start would otherwise be the best loss of the run.
            let monitored = tch::no_grad(|| self.softmax(input, last))?;
            output.monitored = Some(monitored.loss.detach());
        }
        output.values.push(output.loss.detach().full_like(lambda));
        Ok(output)
    }

    fn columns(&self) -> Vec<String> {
        [CosineClassifier::columns(), vec!["lambda".to_string()]].concat()
    }

    fn after_step(&mut self) {
        self.state.iteration += 1;
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.state)
    }

    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        self.state = read_state("sphereface", state)?;
        Ok(())
    }

    fn centres(&self) -> Option<Tensor> {
        self.classifier.class_centres()
    }

    fn sharded(&self) -> Vec<ShardedRows> {
        self.classifier.sharded()
    }
}
