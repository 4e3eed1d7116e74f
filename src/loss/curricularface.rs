//! CurricularFace: ArcFace's margin, and hard negatives weighted by how far training has come
//! (Huang et al. 2020, arXiv:2004.00288, eq. 3, 9 and 10).
//!
//! The target is ArcFace's with the line past pi. A negative with cos > cos(th_y + m), the value
//! without the line, becomes cos (t + cos). Before each use in training
//! t = 0.01 mean(target cos) + 0.99 t, from 0; the mean is that of all processes. Reference: the formula
//! of the authors' code in plain PyTorch.

use super::arcface::{Boundary, additive, shift};
use super::margin::{CosineClassifier, Gradient, Moved, Softmax};
use super::sharded::{Partition, ShardedRows};
use super::{Loss, LossInput, LossOutput, LossPart, read_state};
use crate::Result;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use tch::{Tensor, nn};

/// Weight of a new batch's mean in t.
const ALPHA: f64 = 0.01;

crate::config_struct! {
    /// CurricularFace: adaptive weight on hard negatives (Huang et al. 2020, arXiv:2004.00288).
    pub struct CurricularFace {
        /// Scale `s` of the cosine logits.
        pub scale: f64 = 64.0, positive();
        /// Additive angular margin `m`, radians.
        pub margin: f64 = 0.5, between(0.0, PI);
        /// Divide the class weights over the processes, none of which then holds all logits.
        pub shard: bool = false;
        /// Share of the classes that a training step looks at, those of the batch among them (Partial FC,
        /// arXiv:2203.15565); below 1 it needs `shard`.
        pub sample_rate: f64 = 1.0, between(0.0, 1.0);
    }
}

#[derive(Debug)]
struct Built {
    config: CurricularFace,
    classifier: CosineClassifier,
    state: State,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    /// Running mean of the target's cosine.
    t: f64,
}

impl LossPart for CurricularFace {
    fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let classifier = CosineClassifier::new(path, dim, classes, self.partition());
        Box::new(Built { config: self.clone(), classifier, state: State::default() })
    }

    fn partition(&self) -> Partition {
        Partition { shard: self.shard, sample_rate: self.sample_rate }
    }
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let CurricularFace { scale, margin, shard: _, sample_rate: _ } = self.config;
        let how = Softmax::new(scale, Gradient::Exact);
        let t = &mut self.state.t;
        let mut output = self.classifier.softmax_with(input, how, |cosine_b, samples| {
            if input.train {
                let whole = samples.whole(&cosine_b.detach())?;
                let mean = whole.mean(whole.kind()).double_value(&[]);
                *t = ALPHA * mean + (1.0 - ALPHA) * *t;
            }
            let threshold_b = shift(&cosine_b.detach(), margin);
            let target_b = additive(cosine_b, margin, Boundary::Line);
            Ok(Moved { target_b, hard: Some((threshold_b, *t)) })
        })?;
        output.values.push(output.loss.detach().full_like(*t));
        Ok(output)
    }

    fn columns(&self) -> Vec<String> {
        [CosineClassifier::columns(), vec!["t".to_string()]].concat()
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.state)
    }

    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        self.state = read_state("curricularface", state)?;
        Ok(())
    }

    fn centres(&self) -> Option<Tensor> {
        self.classifier.class_centres()
    }

    fn sharded(&self) -> Vec<ShardedRows> {
        self.classifier.sharded()
    }
}
