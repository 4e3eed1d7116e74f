//! The root of an experiment: every table of the TOML file.

use super::shape::{Family, FamilyInfo};
use super::tables::{Checkpoint, Distributed, Loader, Paths, Record, Train};
use crate::backbone::BackboneConfig;
use crate::data::{Augmentation, DataConfig, PreprocessConfig, SamplerConfig};
use crate::evaluate::{Evaluate, SetConfig};
use crate::head::HeadConfig;
use crate::loss::LossConfig;
use crate::optimizer::OptimizerConfig;
use crate::optimizer::groups::Groups;
use crate::scheduler::SchedulerConfig;
use crate::submit::Submit;
use crate::sweep::pruning::PruningConfig;
use crate::text::TextConfig;
use crate::train::finetune::Finetune;

crate::config_struct! {
    /// One experiment: data, network, loss, optimizer, schedule, evaluation and record.
    pub struct Experiment {
        /// Name of the experiment and of its folder of results; empty: the file's name.
        pub name: String = String::new();
        /// Seed of everything random.
        pub seed: u64 = 0;
        /// Where data sets and results are.
        pub paths: Paths = Paths::default();
        /// The images that are trained on.
        pub data: DataConfig = DataConfig::default();
        /// How an image becomes network input.
        pub preprocess: PreprocessConfig = PreprocessConfig::default();
        /// Random changes to training images.
        pub augmentation: Augmentation = Augmentation::default();
        /// Which images make a batch.
        pub sampler: SamplerConfig = SamplerConfig::default();
        /// Threads that prepare batches.
        pub loader: Loader = Loader::default();
        /// The network that turns an image into features.
        pub backbone: BackboneConfig = BackboneConfig::default();
        /// The network that turns a caption into features.
        pub text: TextConfig = TextConfig::default();
        /// Features to embedding.
        pub head: HeadConfig = HeadConfig::default();
        /// What training minimises.
        pub loss: LossConfig = LossConfig::default();
        /// How the weights follow the gradients.
        pub optimizer: OptimizerConfig = OptimizerConfig::default();
        /// Which parameters get which share of the learning rate and of the weight decay.
        pub groups: Groups = Groups::default();
        /// What of the backbone does not train, and until when.
        pub finetune: Finetune = Finetune::default();
        /// How the learning rate moves.
        pub scheduler: SchedulerConfig = SchedulerConfig::default();
        /// Length and manner of the training.
        pub train: Train = Train::default();
        /// Several processes.
        pub distributed: Distributed = Distributed::default();
        /// What is kept, and when.
        pub checkpoint: Checkpoint = Checkpoint::default();
        /// How the model is scored.
        pub evaluate: Evaluate = Evaluate::default();
        /// What is written down while it runs.
        pub record: Record = Record::default();
        /// Where results are posted to.
        pub submit: Submit = Submit::default();
    }
}

impl Experiment {
    /// The resolved experiment as a file that reads back to the same values.
    pub fn to_toml(&self) -> String {
        super::to_toml(self)
    }
}

/// Every family of parts, for `run parts`; the last one is of sweep files.
pub fn families() -> Vec<FamilyInfo> {
    vec![
        DataConfig::family(),
        SamplerConfig::family(),
        BackboneConfig::family(),
        TextConfig::family(),
        LossConfig::family(),
        OptimizerConfig::family(),
        SchedulerConfig::family(),
        SetConfig::family(),
        PruningConfig::family(),
    ]
}
