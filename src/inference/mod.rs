//! A trained model in use: everything that a run folder holds, opened to embed images.
//!
//! ```no_run
//! let model = arcrun::Model::open("results/quickstart/20261122-212308-6e65")?;
//! let embeddings = model.embed(&["a.jpg", "b.jpg"])?;
//! assert_eq!(embeddings.image.len(), 2 * model.dim());
//! # Ok::<(), arcrun::Error>(())
//! ```

pub mod embedding;
mod kept;
mod threshold;

pub use embedding::{Embeddings, Options};
pub use kept::{Kept, Which};
pub use threshold::Threshold;

use crate::checkpoint::{self, Labels};
use crate::config::{DEFAULTS, Request, load_text, read_file};
use crate::data::{Image, OnCorrupt, Preprocess};
use crate::evaluate::{Flip, merge_flip};
use crate::plan::Plan;
use crate::train::model::Model as Network;
use crate::train::session::workers;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A run's network with the weights of one of its checkpoints, its preprocessing and its label map.
#[derive(Debug)]
pub struct Model {
    /// The resolved experiment and the device.
    pub plan: Plan,
    pub network: Network,
    pub preprocess: Preprocess,
    /// The identities it was trained on.
    pub labels: Labels,
    /// The run folder.
    pub run: PathBuf,
    /// `latest`, `min-loss` or `epoch-NNNN`.
    pub checkpoint: String,
    /// Epochs that the weights were trained for.
    pub epoch: u64,
}

impl Model {
    /// Opens the best checkpoint of a run: `min-loss`, or where there is none `latest`.
    ///
    /// # Errors
    /// `Input` for a folder that is no run, has no checkpoint, or holds a damaged one.
    pub fn open(run: impl AsRef<Path>) -> Result<Model> {
        Model::open_with(run, None, &[])
    }

    /// Opens a checkpoint of a run, with `KEY=VALUE` settings over the run's own, such as
    /// `train.device=cuda:0`.
    ///
    /// # Errors
    /// As [`Model::open`], and settings that don't fit.
    pub fn open_with(
        run: impl AsRef<Path>,
        checkpoint: Option<Which>,
        settings: &[String],
    ) -> Result<Model> {
        let run = run.as_ref();
        // First, for a folder that is no run's is told as such here.
        let plan = plan_of(run, settings)?;
        let kept = match checkpoint {
            Some(name) => Kept::one(run, name)?,
            None => Kept::best(run)?,
        };
        Model::load(run, plan, &kept)
    }

    /// Weights of `run` under a plan that [`plan_of`] made.
    ///
    /// # Errors
    /// A damaged checkpoint, or one of another network.
    pub fn load(run: &Path, plan: Plan, kept: &Kept) -> Result<Model> {
        let (network, labels) = kept.network(&plan)?;
        Ok(Model {
            network,
            preprocess: plan.experiment.preprocess.build(),
            plan,
            labels,
            run: run.to_path_buf(),
            checkpoint: kept.calls()[0].clone(),
            epoch: kept.epoch,
        })
    }

    /// Length of an embedding.
    pub fn dim(&self) -> usize {
        self.network.dim() as usize
    }

    /// Embeds images of any size and of any format that is read; see [`Embeddings`].
    ///
    /// # Errors
    /// An image that can't be read, by name.
    pub fn embed<T: Clone + Into<Image>>(&self, images: &[T]) -> Result<Embeddings> {
        let images: Vec<Image> = images.iter().map(|image| image.clone().into()).collect();
        let options = self.options(false, OnCorrupt::Error);
        self.embed_with(&images, options, &|_, _| true)
    }

    /// [`Model::embed`] with options and progress, see [`embedding::embed`].
    ///
    /// # Errors
    /// As there.
    pub fn embed_with(
        &self,
        images: &[Image],
        options: Options,
        progress: &dyn Fn(usize, usize) -> bool,
    ) -> Result<Embeddings> {
        embedding::embed(&self.network, &self.preprocess, images, options, progress)
    }

    /// Embeds captions, by a model with a text tower: a row of [`Model::dim`] values each, in the space
    /// of the images, not normalised.
    ///
    /// # Errors
    /// A model without a text tower.
    pub fn embed_texts<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<f32>> {
        self.network.embed_captions(texts)
    }

    /// The run's own way to embed: batches and flip test of `[evaluate]`.
    pub fn options(&self, mirror: bool, on_corrupt: OnCorrupt) -> Options {
        options(&self.plan, mirror, on_corrupt)
    }

    /// One vector for each image, as the run's evaluation compares them: after the flip test of
    /// `[evaluate]`, not normalised. Returns the vectors and their length.
    pub fn merged(&self, embeddings: &Embeddings) -> (Vec<f32>, usize) {
        merge(embeddings, self.plan.experiment.evaluate.flip)
    }
}

/// The vectors after a flip test, and their length.
pub fn merge(embeddings: &Embeddings, flip: Flip) -> (Vec<f32>, usize) {
    let Embeddings { dim, image, mirrored, broken: _ } = embeddings;
    let merged = merge_flip(image, mirrored, *dim, flip);
    (merged, if flip == Flip::Concat { 2 * dim } else { *dim })
}

/// Options from `[evaluate]` and `[loader]`.
pub fn options(plan: &Plan, mirror: bool, on_corrupt: OnCorrupt) -> Options {
    Options {
        batch_size: plan.experiment.evaluate.eval_batch_size,
        workers: workers(plan),
        prefetch: plan.experiment.loader.prefetch,
        mirror,
        on_corrupt,
    }
}

/// The plan of a run folder, with `KEY=VALUE` settings over it. The run's configuration is resolved:
/// the environment has had its say.
///
/// # Errors
/// `Input` for a folder that is no run's.
pub fn plan_of(run: &Path, settings: &[String]) -> Result<Plan> {
    let file = run.join("config.toml");
    if !file.is_file() {
        let what = if run.exists() { "is no run folder" } else { "is not there" };
        return Err(Error::input(format!("{} {what}", run.display()))
            .help("give a folder that a training made: it holds config.toml and checkpoints/"));
    }
    let text = read_file(&file)?;
    let request = Request { file, sets: settings.to_vec(), environment: Vec::new() };
    Plan::without_training(load_text(&request, &text, DEFAULTS)?)
}

/// Scores and thresholds of a run hold for embeddings under the run's own settings.
///
/// # Errors
/// `Input` where the settings over `plan` change how images are embedded, with the keys.
pub fn as_trained(run: &Path, plan: &Plan, what: &str) -> Result<()> {
    let own = plan_of(run, &[])?.experiment;
    let now = &plan.experiment;
    let changed: Vec<&str> = [
        ("preprocess", own.preprocess == now.preprocess),
        ("backbone", own.backbone == now.backbone),
        ("head", own.head == now.head),
        ("evaluate.flip", own.evaluate.flip == now.evaluate.flip),
    ]
    .into_iter()
    .filter_map(|(key, same)| (!same).then_some(key))
    .collect();
    match changed.as_slice() {
        [] => Ok(()),
        keys => Err(Error::input(format!(
            "{what} under the run's own {}, which --set changes",
            keys.join(", ")
        ))),
    }
}

/// The network of a checkpoint folder with the weights of `group` (`model`, `ema`), and its state.
///
/// # Errors
/// A damaged checkpoint, one of another network or without that group.
pub fn network_of(plan: &Plan, folder: &Path, group: &str) -> Result<(Network, checkpoint::State)> {
    let (weights, state) = checkpoint::read_group(folder, group).map_err(|error| match group {
        "ema" => error.help("a run keeps averages from its beginning on, with train.ema.decay"),
        _ => error,
    })?;
    let network = network_with(plan, folder, &weights, state.labels.names.len())?;
    Ok((network, state))
}

/// The network with `weights`, which come from `source`, over `classes` classes.
///
/// # Errors
/// Weights of another network.
pub fn network_with(
    plan: &Plan,
    source: &Path,
    weights: &checkpoint::Named,
    classes: usize,
) -> Result<Network> {
    let network = Network::build(&plan.experiment, classes, plan.device);
    let expected = checkpoint::shapes(&network.tensors());
    checkpoint::same_tensors(source, &expected, &checkpoint::shapes(weights))?;
    network.load(weights);
    Ok(network)
}

/// The weights that `text` names, as [`Which::parse`] has them.
///
/// # Errors
/// Another word.
pub fn checkpoint_name(text: &str) -> Result<Which> {
    Which::parse(text).ok_or_else(|| {
        Error::input(format!("there is no checkpoint \"{text}\"")).help(
            "use latest, min-loss, best-METRIC or the number of an epoch; with -ema the average",
        )
    })
}
