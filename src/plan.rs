//! The plan: an experiment whose tables have been checked against each other and against the
//! machine. After it nothing looks at TOML, environment or arguments.

use crate::config::tables::Amp;
use crate::config::{Diagnostic, Diagnostics, Experiment, Loaded, Provenance};
use crate::data::sampler;
use crate::head::Projection;
use crate::optimizer::OptimizerConfig;
use crate::torch::{autocast, device, precision};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use tch::{Device, Kind};

/// What a run will do.
#[derive(Debug)]
pub struct Plan {
    pub experiment: Experiment,
    pub provenance: Provenance,
    /// The experiment file.
    pub file: PathBuf,
    /// Name of the experiment and of its folder of results.
    pub name: String,
    pub device: Device,
    /// Half precision of the forward pass.
    pub amp: Option<Kind>,
}

impl Plan {
    /// # Errors
    /// What can't be divided over so many ranks: fewer classes than ranks, or an optimizer that takes norms
    /// of whole tensors where each rank has a part of one.
    pub fn fits_ranks(&self, classes: usize, ranks: usize) -> Result<()> {
        let Experiment { loss, optimizer, .. } = &self.experiment;
        loss.fits(classes, ranks)?;
        let kind = optimizer.kind();
        if ranks > 1
            && loss.shards()
            && matches!(optimizer, OptimizerConfig::Lamb(_) | OptimizerConfig::Lars(_))
        {
            let message = format!(
                "\"{kind}\" scales each tensor's step by its norm, and with loss.shard a rank has a part of \
                 the class weights alone"
            );
            let help = "take another optimizer, such as sgd or adamw, or leave loss.shard out";
            return Err(self.error("optimizer.kind", message, help));
        }
        Ok(())
    }

    /// # Errors
    /// All conflicts between keys at once, then what the device can't do.
    pub fn new(loaded: Loaded) -> Result<Self> {
        let plan = Self::without_training(loaded)?;
        let Plan { device, amp, .. } = plan;
        let train = &plan.experiment.train;
        if let Some(kind) = amp {
            autocast::supported(device, kind).map_err(|e| plan.at("train.amp", e))?;
        }
        if train.tf32 {
            precision::supports_tf32(device).map_err(|e| plan.at("train.tf32", e))?;
        }
        if train.cudnn_benchmark {
            precision::supports_cudnn(device).map_err(|e| plan.at("train.cudnn_benchmark", e))?;
        }
        Ok(plan)
    }

    /// The plan of what does not train, which may go on where the training could not: the formats that
    /// a GPU computes in are not asked of the device.
    ///
    /// # Errors
    /// All conflicts between keys at once, then a device that is not there.
    pub fn without_training(loaded: Loaded) -> Result<Self> {
        let Loaded { mut experiment, provenance, file } = loaded;
        let mut wrong = Diagnostics::new(file.display().to_string());
        let mut refuse = |key: &str, message: String| {
            wrong.push(provenance.error(key, format!("`{key}` {message}"), None));
        };
        for (key, message) in conflicts(&experiment) {
            refuse(&key, message);
        }
        if experiment.name.is_empty() {
            let stem = file.file_stem().unwrap_or_default();
            experiment.name = stem.to_string_lossy().into_owned();
        }
        let name = experiment.name.clone();
        let odd = |c: char| c == '/' || c == '\\' || c.is_control();
        if name.starts_with(['.', '-']) || name.contains(odd) || name.trim().is_empty() {
            refuse("name", format!("is {name:?}, which is no name for a folder"));
        }
        wrong.into_result()?;

        let device = device::select(&experiment.train.device)
            .map_err(|error| at(&file, &provenance, "train.device", error))?;
        let amp = match experiment.train.amp {
            Amp::Off => None,
            Amp::Bf16 => Some(Kind::BFloat16),
            Amp::Fp16 => Some(Kind::Half),
        };
        Ok(Plan { experiment, provenance, file, name, device, amp })
    }

    /// What the device can't do, at the key that asked for it.
    pub(crate) fn at(&self, key: &str, error: Error) -> Error {
        at(&self.file, &self.provenance, key, error)
    }

    /// A configuration error at `key`.
    pub fn error(&self, key: &str, message: String, help: &str) -> Error {
        in_file(&self.file, self.provenance.error(key, message, Some(help)))
    }
}

/// What is wrong between the keys of an experiment that are each right: key and message, which goes
/// on after the key's name.
pub fn conflicts(experiment: &Experiment) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let mut refuse = |key: &str, message: String| wrong.push((key.to_string(), message));
    for (key, message) in experiment.backbone.validate(&experiment.preprocess) {
        refuse(&format!("backbone.{key}"), message);
    }
    for (key, message) in crate::train::pretrained::misfits(experiment) {
        refuse(key, message);
    }
    if let Some((key, message)) = experiment.preprocess.conflict() {
        refuse(&format!("preprocess.{key}"), message);
    }
    for (key, message) in experiment.head.validate(&experiment.backbone, &experiment.loss) {
        refuse(&format!("head.{key}"), message);
    }
    for (key, message) in experiment.loss.validate() {
        refuse(&format!("loss.{key}"), message);
    }
    for (key, message) in experiment.text.validate() {
        refuse(&format!("text.{key}"), message);
    }
    for (key, message) in experiment.data.validate() {
        refuse(&format!("data.{key}"), message);
    }
    for (key, message) in texts(experiment) {
        refuse(key, message);
    }
    if experiment.loss.needs().pairs && !sampler::supports_pairs(&experiment.sampler) {
        let message = format!(
            "is \"{}\", whose batches can lack two images of one identity; the loss \"{}\" \
             needs such pairs: set sampler.kind = \"pk\"",
            experiment.sampler.kind(),
            experiment.loss.kind()
        );
        refuse("sampler.kind", message);
    }
    if experiment.loss.needs().text && experiment.sampler.kind() != "shuffle" {
        let message = format!(
            "is \"{}\", which draws images by their identities, and images with captions have none: \
             set sampler.kind = \"shuffle\"",
            experiment.sampler.kind()
        );
        refuse("sampler.kind", message);
    }
    for (key, message) in experiment.optimizer.validate() {
        refuse(&format!("optimizer.{key}"), message);
    }
    if experiment.train.cudnn_benchmark && experiment.train.deterministic {
        let message = "is true, but train.deterministic = true asks for the same bits in every run, which \
                       the fastest algorithm of the moment does not give: set one of the two to false";
        refuse("train.cudnn_benchmark", message.to_string());
    }
    let (_, frozen) = experiment.backbone.common();
    let for_good = frozen && experiment.finetune.unfreeze_epoch == 0;
    for (key, message) in experiment.groups.validate(for_good) {
        refuse(&format!("groups.{key}"), message);
    }
    for (key, message) in experiment.finetune.validate(frozen) {
        refuse(&format!("finetune.{key}"), message);
    }
    for (key, message) in crate::train::watch::misfits(experiment) {
        refuse(key, message);
    }
    for (key, message) in experiment.sampler.validate(experiment.train.batch_size) {
        refuse(key, message);
    }
    for (key, message) in experiment.scheduler.validate(experiment.optimizer.lr()) {
        refuse(&format!("scheduler.{key}"), message);
    }
    let normed = match (experiment.head.batch_norm, experiment.backbone.ends_in_batch_norm()) {
        (true, _) => Some("head.batch_norm".to_string()),
        (false, true) if !for_good => Some(format!(
            "the backbone \"{}\" ends in a batch norm, which",
            experiment.backbone.kind()
        )),
        _ => None,
    };
    if experiment.loss.needs().text && experiment.train.batch_size == 1 {
        let message = format!(
            "is 1, but the loss \"{}\" tells the captions of a batch apart: set 2 or more",
            experiment.loss.kind()
        );
        refuse("train.batch_size", message);
    }
    if let Some(what) = normed.filter(|_| experiment.train.batch_size == 1) {
        let message = format!("is 1, but {what} needs 2 or more: one value has no variance");
        refuse("train.batch_size", message);
    }
    wrong
}

/// Captions, the tower that reads them and the loss that compares them come together.
fn texts(experiment: &Experiment) -> Vec<(&'static str, String)> {
    let Experiment { data, text, loss, head, backbone, evaluate, .. } = experiment;
    let mut wrong = Vec::new();
    let has_captions = match data {
        // What is in a pack is seen when it is opened.
        crate::data::DataConfig::Pack(_) => loss.needs().text,
        other => other.has_captions(),
    };
    let has_tower = text.features();
    if loss.needs().text && !has_captions {
        let message = format!(
            "is \"{}\", which compares images with texts, and data.kind = \"{}\" has none: set \
             data.kind = \"image_text\", or \"webdataset\" with labels = \"captions\"",
            loss.kind(),
            data.kind()
        );
        wrong.push(("loss.kind", message));
    } else if !loss.needs().text && has_captions {
        let message = format!(
            "is \"{}\", which needs identities, and data.kind = \"{}\" has captions: set loss.kind = \
             \"clip\" or \"siglip\"",
            loss.kind(),
            data.kind()
        );
        wrong.push(("loss.kind", message));
    }
    match has_tower {
        None if loss.needs().text && has_captions => {
            let message = format!(
                "is \"none\", but the loss \"{}\" needs embeddings of captions: set text.kind = \
                 \"clip_text\"",
                loss.kind()
            );
            wrong.push(("text.kind", message));
        }
        None => {
            if let Some(set) = evaluate.of_texts().first() {
                let message = format!(
                    "is \"none\", but evaluate.sets.{set} searches by captions: set text.kind = \
                     \"clip_text\", or leave the set out"
                );
                wrong.push(("text.kind", message));
            }
        }
        Some(_) if !loss.needs().text => {
            let message = format!(
                "is \"{}\", which the loss \"{}\" does not train: set text.kind = \"none\"",
                text.kind(),
                loss.kind()
            );
            wrong.push(("text.kind", message));
        }
        Some(features)
            if head.projection == Projection::None && features != backbone.features() =>
        {
            let message = format!(
                "is \"none\", but the text tower has {features} features and the backbone {}: set \
                 head.projection = \"linear\"",
                backbone.features()
            );
            wrong.push(("head.projection", message));
        }
        Some(_) => {}
    }
    wrong
}

/// An error of the machine, with the key that led to it.
fn at(file: &Path, provenance: &Provenance, key: &str, error: Error) -> Error {
    match error {
        Error::Input { message, help } => {
            let message = format!("`{key}`: {message}");
            in_file(file, provenance.error(key, message, help.as_deref()))
        }
        other => other,
    }
}

fn in_file(file: &Path, diagnostic: Diagnostic) -> Error {
    let mut diagnostics = Diagnostics::new(file.display().to_string());
    diagnostics.push(diagnostic);
    diagnostics.into()
}
