//! AdaFace: a margin that adapts to the image's quality, read off the embedding's norm (Kim et
//! al. 2022, arXiv:2204.00964, eq. 13 to 17).
//!
//! n = embedding norm without gradient, clipped to [0.001, 100]; mean and std are running values
//! of the batch's (of all processes), with weight t_alpha on the new one, updated before use in training
//! (a batch of one keeps the std). z = clip(h (n - mean) / (std + 1e-3), -1, 1). Cosines are clipped to
//! +-(1 - 1e-3); target logit s (cos(clip(th - m z, 1e-3, pi - 1e-3)) - (m + m z)).
//! Reference: the formula of the authors' code in plain PyTorch.

use super::margin::{CosineClassifier, Gradient, Moved, Scale, Softmax};
use super::sharded::{Partition, ShardedRows};
use super::{Loss, LossInput, LossOutput, LossPart, norm, read_state, widen};
use crate::Result;
use crate::distributed::WholeBatch;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use tch::{Tensor, nn};

const EPS: f64 = 1e-3;

crate::config_struct! {
    /// AdaFace: the margin follows the embedding's norm (Kim et al. 2022, arXiv:2204.00964).
    pub struct AdaFace {
        /// Scale `s` of the cosine logits.
        pub scale: f64 = 64.0, positive();
        /// Margin `m`, angular (radians) for weak images, of the cosine for strong ones.
        pub margin: f64 = 0.4, between(0.0, PI);
        /// Concentration `h`: how much of the spread of norms is used before it is clipped.
        pub h: f64 = 0.333, non_negative();
        /// Weight of a new batch in the running mean and std of the norms.
        pub t_alpha: f64 = 0.01, between(0.0, 1.0);
        /// Divide the class weights over the processes, none of which then holds all logits.
        pub shard: bool = false;
        /// Share of the classes that a training step looks at, those of the batch among them (Partial FC,
        /// arXiv:2203.15565); below 1 it needs `shard`.
        pub sample_rate: f64 = 1.0, between(0.0, 1.0);
    }
}

#[derive(Debug)]
struct Built {
    config: AdaFace,
    classifier: CosineClassifier,
    state: State,
}

/// Running statistics of the embedding's norm; the start is the authors'.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    mean: f64,
    std: f64,
}

impl LossPart for AdaFace {
    fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let classifier = CosineClassifier::new(path, dim, classes, self.partition());
        let state = State { mean: 20.0, std: 100.0 };
        Box::new(Built { config: self.clone(), classifier, state })
    }

    fn reads_norms(&self) -> bool {
        true
    }

    fn partition(&self) -> Partition {
        Partition { shard: self.shard, sample_rate: self.sample_rate }
    }
}

impl State {
    fn update(&mut self, norm_b: &Tensor, weight: f64) {
        let mean = norm_b.mean(norm_b.kind()).double_value(&[]);
        self.mean = weight * mean + (1.0 - weight) * self.mean;
        if norm_b.size()[0] > 1 {
            let std = norm_b.std(true).double_value(&[]);
            self.std = weight * std + (1.0 - weight) * self.std;
        }
    }
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let AdaFace { scale, margin, h, t_alpha, shard: _, sample_rate: _ } = self.config;
        let norm_b = norm(&widen(input.embedding).detach()).clamp(1e-3, 100.0);
        if input.train {
            self.state.update(&WholeBatch::of(&norm_b)?.gather(&norm_b)?, t_alpha);
        }
        let State { mean, std } = self.state;
        let z_b = ((norm_b - mean) * (h / (std + EPS))).clamp(-1.0, 1.0);
        let clip = 1.0 - EPS;
        let how = Softmax { scale: Scale::Fixed(scale), gradient: Gradient::Exact, clip };
        let mut output = self.classifier.softmax_with(input, how, |cosine_b, samples| {
            let z_b = samples.seen(&z_b)?;
            let angle_b = cosine_b.clamp(-clip, clip).acos() - &z_b * margin;
            let moved_b = angle_b.clamp(EPS, PI - EPS).cos();
            Ok(Moved { target_b: moved_b - (&z_b * margin + margin), hard: None })
        })?;
        for value in [mean, std] {
            output.values.push(output.loss.detach().full_like(value));
        }
        Ok(output)
    }

    fn columns(&self) -> Vec<String> {
        let own = ["norm_mean", "norm_std"].map(String::from).to_vec();
        [CosineClassifier::columns(), own].concat()
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.state)
    }

    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        self.state = read_state("adaface", state)?;
        Ok(())
    }

    fn centres(&self) -> Option<Tensor> {
        self.classifier.class_centres()
    }

    fn sharded(&self) -> Vec<ShardedRows> {
        self.classifier.sharded()
    }
}
