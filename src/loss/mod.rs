//! Losses: what training minimises.
//!
//! A loss owns its parameters (class weights, below the prefix `loss.`) and its state, both part
//! of every checkpoint. Everything in a loss runs in float32 or wider, also under AMP: half
//! precision cannot tell cosines near 1 apart.

pub mod adaface;
pub mod arcface;
pub mod clip;
pub mod combined;
pub mod cosface;
pub mod cross_entropy;
pub mod curricularface;
pub mod margin;
pub mod multiplicative;
pub mod norm_softmax;
pub mod pairs;
pub mod sharded;
pub mod siglip;
pub mod sphereface;
pub mod sphereface_r;
pub mod subcenter_arcface;
pub mod sum;
pub mod supcon;
pub mod triplet;

use crate::Result;
use sharded::{Partition, ShardedRows};
use tch::{Kind, Tensor, nn};

crate::config_family! {
    /// What training minimises.
    pub enum LossConfig("loss") {
        ArcFace(arcface::ArcFace) = "arcface",
        AdaFace(adaface::AdaFace) = "adaface",
        Clip(clip::Clip) = "clip",
        Combined(combined::Combined) = "combined",
        CosFace(cosface::CosFace) = "cosface",
        CrossEntropy(cross_entropy::CrossEntropy) = "cross_entropy",
        CurricularFace(curricularface::CurricularFace) = "curricularface",
        Multiplicative(multiplicative::Multiplicative) = "multiplicative",
        NormSoftmax(norm_softmax::NormSoftmax) = "norm_softmax",
        SigLip(siglip::SigLip) = "siglip",
        SphereFace(sphereface::SphereFace) = "sphereface",
        SphereFaceR(sphereface_r::SphereFaceR) = "sphereface_r",
        SubcenterArcFace(subcenter_arcface::SubcenterArcFace) = "subcenter_arcface",
        Sum(sum::Sum) = "sum",
        SupCon(supcon::SupCon) = "supcon",
        Triplet(triplet::Triplet) = "triplet",
    }
}

/// One batch, as a loss sees it.
#[derive(Clone, Copy, Debug)]
pub struct LossInput<'a> {
    /// Embeddings of the images [B, D], not normalised.
    pub embedding: &'a Tensor,
    /// Identities, int64 `[B]` in 0..C.
    pub labels: &'a Tensor,
    /// Embeddings of the captions [B, D], where the data has text.
    pub text: Option<&'a Tensor>,
    /// A training step, which may move the loss's state; else validation, which never does.
    pub train: bool,
}

/// What a loss says of one batch. Of several processes each says its own, by the convention of
/// [`distributed`](crate::distributed): `loss`, `monitored` and `values` average over the ranks to those of
/// the whole batch, `correct` adds up.
#[derive(Debug)]
pub struct LossOutput {
    /// Mean over the batch, a scalar with a graph.
    pub loss: Tensor,
    /// Samples of this process that the embedding alone, without any margin, puts nearest to their own
    /// class (or to a sample of it, where a loss has no classes); a scalar without a graph.
    pub correct: Tensor,
    /// What `min-loss` compares where it is not `loss`: that of a loss whose difficulty is
    /// annealed, at its final difficulty. Without a graph.
    pub monitored: Option<Tensor>,
    /// What is worth a column of steps.csv: scalars without a graph, by [`Loss::columns`].
    pub values: Vec<Tensor>,
}

/// A built loss.
pub trait Loss: std::fmt::Debug {
    /// # Errors
    /// What the batch lacks, such as text.
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput>;

    /// Names of the `values` of every output, in order.
    fn columns(&self) -> Vec<String>;

    /// State beside the parameters that a checkpoint must carry.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// # Errors
    /// A state that another loss wrote.
    fn load_state(&mut self, _state: &serde_json::Value) -> Result<()> {
        Ok(())
    }

    /// Parameters that never decay, by their names below `loss.`.
    fn without_decay(&self) -> Vec<String> {
        Vec::new()
    }

    /// Called after every optimizer step: what a parameter must keep to.
    fn after_step(&mut self) {}

    /// Where the loss has its classes, for pictures: weights [C, D] of any norm, of which the
    /// direction counts. None of a loss without class weights, or that has only some of them here.
    fn centres(&self) -> Option<Tensor> {
        None
    }

    /// Parameters that are divided over the ranks. Their gradient is that of the whole batch: it is not to
    /// be averaged.
    fn sharded(&self) -> Vec<ShardedRows> {
        Vec::new()
    }
}

/// What a batch must hold for a loss to mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Two images of one identity: a P x K sampler.
    pub pairs: bool,
    /// A caption for each image.
    pub text: bool,
}

/// A loss as the experiment states it.
pub trait LossPart {
    /// `path` is where the loss's parameters go; `dim` D and `classes` C shape them.
    fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss>;

    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Whether the lengths of embeddings matter to it, beside their directions.
    fn reads_norms(&self) -> bool {
        false
    }

    /// How the class weights are divided over the ranks.
    fn partition(&self) -> Partition {
        Partition::default()
    }

    /// Whether it, or a part of it, divides class weights over the ranks.
    fn shards(&self) -> bool {
        self.partition().shard
    }

    /// What is wrong with the values taken together: (key below `loss`, message).
    fn validate(&self) -> Vec<(String, String)> {
        self.partition().validate()
    }
}

impl LossConfig {
    fn part(&self) -> &dyn LossPart {
        match self {
            LossConfig::AdaFace(config) => config,
            LossConfig::ArcFace(config) => config,
            LossConfig::Clip(config) => config,
            LossConfig::Combined(config) => config,
            LossConfig::CosFace(config) => config,
            LossConfig::CrossEntropy(config) => config,
            LossConfig::CurricularFace(config) => config,
            LossConfig::Multiplicative(config) => config,
            LossConfig::NormSoftmax(config) => config,
            LossConfig::SigLip(config) => config,
            LossConfig::SphereFace(config) => config,
            LossConfig::SphereFaceR(config) => config,
            LossConfig::SubcenterArcFace(config) => config,
            LossConfig::Sum(config) => config,
            LossConfig::SupCon(config) => config,
            LossConfig::Triplet(config) => config,
        }
    }

    /// `path` is where the loss's parameters go; `dim` D and `classes` C shape them.
    pub fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        self.part().build(path, dim, classes)
    }

    pub fn needs(&self) -> Needs {
        self.part().needs()
    }

    /// Whether it is lost on embeddings of unit length.
    pub fn reads_norms(&self) -> bool {
        self.part().reads_norms()
    }

    /// What is wrong with the values taken together: (key below `loss`, message).
    pub fn validate(&self) -> Vec<(String, String)> {
        self.part().validate()
    }

    /// Whether the class weights are divided over the ranks.
    pub fn shards(&self) -> bool {
        self.part().shards()
    }

    /// # Errors
    /// Fewer classes than ranks to divide them over.
    pub fn fits(&self, classes: usize, ranks: usize) -> Result<()> {
        sharded::check(self.part().shards(), classes, ranks)
    }

    /// The columns that the loss adds to steps.csv.
    pub fn columns(&self) -> Vec<String> {
        let store = nn::VarStore::new(tch::Device::Cpu);
        self.build(&store.root(), 2, 2).columns()
    }
}

/// float16 and bfloat16 become float32; float32 and float64 stay.
pub(crate) fn widen(tensor: &Tensor) -> Tensor {
    match tensor.kind() {
        Kind::Half | Kind::BFloat16 => tensor.to_kind(Kind::Float),
        _ => tensor.shallow_clone(),
    }
}

/// Rows of unit L2 norm; a zero row stays zero.
///
/// # Shapes
/// [B, D] -> [B, D].
pub(crate) fn normalize(rows: &Tensor) -> Tensor {
    rows / norm(rows).unsqueeze(1)
}

/// L2 norm of every row, at least 1e-12.
///
/// # Shapes
/// [B, D] -> `[B]`.
pub(crate) fn norm(rows: &Tensor) -> Tensor {
    rows.norm_scalaropt_dim(2.0, [1i64].as_slice(), false).clamp_min(1e-12)
}

/// A loss's state out of a checkpoint.
pub(crate) fn read_state<T: serde::de::DeserializeOwned>(
    kind: &str,
    state: &serde_json::Value,
) -> Result<T> {
    serde_json::from_value(state.clone()).map_err(|error| {
        crate::Error::input(format!("the checkpoint's loss state is not of {kind}: {error}"))
            .help("continue with the loss that wrote the checkpoint")
    })
}
