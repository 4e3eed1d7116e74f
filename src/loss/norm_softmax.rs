//! Norm-softmax: cross-entropy over scaled cosines without a margin (NormFace, Wang et al. 2017,
//! arXiv:1704.06369, eq. 5; the baseline of the ArcFace paper's table 2).
//!
//! Logits s cos th. Reference: `torch.nn.functional.normalize`, `linear` and `cross_entropy`.

use super::margin::{CosineClassifier, Gradient, Softmax};
use super::sharded::{Partition, ShardedRows};
use super::{Loss, LossInput, LossOutput, LossPart};
use crate::Result;
use tch::{Tensor, nn};

crate::config_struct! {
    /// Cross-entropy over scaled cosines, no margin (NormFace, Wang et al. 2017, arXiv:1704.06369).
    pub struct NormSoftmax {
        /// Scale `s` of the cosine logits.
        pub scale: f64 = 20.0, positive();
        /// Divide the class weights over the processes, none of which then holds all logits.
        pub shard: bool = false;
        /// Share of the classes that a training step looks at, those of the batch among them (Partial FC,
        /// arXiv:2203.15565); below 1 it needs `shard`.
        pub sample_rate: f64 = 1.0, between(0.0, 1.0);
    }
}

#[derive(Debug)]
struct Built {
    config: NormSoftmax,
    classifier: CosineClassifier,
}

impl LossPart for NormSoftmax {
    fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let classifier = CosineClassifier::new(path, dim, classes, self.partition());
        Box::new(Built { config: self.clone(), classifier })
    }

    fn partition(&self) -> Partition {
        Partition { shard: self.shard, sample_rate: self.sample_rate }
    }
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let NormSoftmax { scale, shard: _, sample_rate: _ } = self.config;
        let how = Softmax::new(scale, Gradient::Exact);
        self.classifier.softmax(input, how, |cosine_b| cosine_b.shallow_clone())
    }

    fn columns(&self) -> Vec<String> {
        CosineClassifier::columns()
    }

    fn centres(&self) -> Option<Tensor> {
        self.classifier.class_centres()
    }

    fn sharded(&self) -> Vec<ShardedRows> {
        self.classifier.sharded()
    }
}
