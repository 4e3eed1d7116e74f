//! What of the backbone stands still: `backbone.frozen` and `[finetune]`, as a function of the epoch.

use super::finetune::Finetune;
use crate::backbone::Backbone;
use crate::backbone::batch_norm::Switch;
use crate::config::Experiment;
use crate::optimizer::groups::{Grouped, Misfit};
use std::collections::BTreeMap;
use tch::Tensor;

const PREFIX: &str = "backbone.";

/// Nothing of it is in a checkpoint: the epoch says what is frozen.
#[derive(Debug)]
pub struct Freezing {
    config: Finetune,
    /// `backbone.frozen`.
    frozen: bool,
    kind: &'static str,
    /// Stages of the backbone.
    stages: usize,
    /// Batch norms of the backbone, and whether they are frozen until the thaw alone.
    norms: Vec<(Switch, bool)>,
    can_recompute: bool,
    /// Parameters frozen until the thaw, or for good where there is none, by full name.
    held: BTreeMap<String, Tensor>,
    thawed: bool,
}

impl Freezing {
    /// Freezes what is frozen at the beginning. `norms` are the switches of `backbone`'s batch
    /// norms, `tensors` the whole model's.
    pub fn new(
        experiment: &Experiment,
        backbone: &mut dyn Backbone,
        norms: Vec<Switch>,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Self {
        let counted = tensors
            .keys()
            .filter(|name| name.starts_with(PREFIX) && name.ends_with(".running_mean"));
        debug_assert_eq!(norms.len(), counted.count(), "batch norms without a switch");
        let config = experiment.finetune.clone();
        let (_, frozen) = experiment.backbone.common();
        let in_frozen_stage = |name: &str| {
            let below = name.strip_prefix(PREFIX);
            let stage = |below| frozen || backbone.stage(below) <= config.freeze_stages;
            below.is_some_and(|below| (frozen || config.freeze_stages > 0) && stage(below))
        };
        let mut held = BTreeMap::new();
        for (name, parameter) in tensors.iter().filter(|(_, tensor)| tensor.requires_grad()) {
            let of_norm = name.rsplit_once('.').is_some_and(|(layer, _)| {
                config.freeze_batch_norm_affine && norms.iter().any(|norm| norm.name == layer)
            });
            let until_thaw = in_frozen_stage(name);
            if of_norm || until_thaw {
                let _ = parameter.set_requires_grad(false);
            }
            if until_thaw && !of_norm {
                held.insert(name.clone(), parameter.shallow_clone());
            }
        }
        let switch = |norm: Switch| {
            let until_thaw = in_frozen_stage(&norm.name);
            norm.set(until_thaw || config.freeze_batch_norm);
            (norm, until_thaw && !config.freeze_batch_norm)
        };
        let norms = norms.into_iter().map(switch).collect();
        Freezing {
            frozen,
            kind: experiment.backbone.kind(),
            stages: backbone.stages(),
            norms,
            can_recompute: backbone.recompute(config.gradient_checkpointing),
            held,
            thawed: false,
            config,
        }
    }

    /// The whole backbone is frozen now.
    pub fn is_whole(&self) -> bool {
        self.frozen && !self.thawed
    }

    /// Parameters that don't train now but will, by full name.
    pub fn waiting(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        let will = self.config.unfreeze_epoch > 0 && !self.thawed;
        self.held.iter().filter(move |_| will)
    }

    /// Of the parameters that wait for the thaw only those in `grouped` are thawed: rules of
    /// `[groups]` freeze for good.
    ///
    /// # Errors
    /// The backbone has nothing that a key could act on; nothing is left to train until the thaw.
    pub fn check(&mut self, grouped: &Grouped) -> Result<(), Misfit> {
        let Finetune { freeze_stages, freeze_batch_norm, gradient_checkpointing, .. } = self.config;
        let misfit = |key: &str, why: String, help: String| Misfit {
            key: key.to_string(),
            message: format!("`{key}` {why}"),
            help,
        };
        let Freezing { kind, stages, .. } = self;
        if freeze_stages > *stages {
            return Err(misfit(
                "finetune.freeze_stages",
                format!("is {freeze_stages}, but backbone.kind = \"{kind}\" has {stages} stages"),
                format!("set it to {stages} at most, or backbone.frozen = true for all of it"),
            ));
        }
        if freeze_batch_norm && self.norms.is_empty() {
            return Err(misfit(
                "finetune.freeze_batch_norm",
                format!("is true, but backbone.kind = \"{kind}\" has no batch norm here"),
                "set it to false".to_string(),
            ));
        }
        if gradient_checkpointing > 0 && !self.can_recompute {
            return Err(misfit(
                "finetune.gradient_checkpointing",
                format!(
                    "is {gradient_checkpointing}, but backbone.kind = \"{kind}\" can't recompute \
                     its activations"
                ),
                "set it to 0".to_string(),
            ));
        }
        if self.config.unfreeze_epoch > 0 {
            // Without a thaw none of them is in a group.
            self.held.retain(|name, _| grouped.members.contains_key(name));
        }
        if !grouped.members.values().any(|member| member.parameter.requires_grad()) {
            let (key, stay) = match self.frozen {
                true => ("backbone.frozen", "set backbone.frozen = false"),
                false => ("finetune.freeze_stages", "set finetune.freeze_stages = 0"),
            };
            let until = match self.config.unfreeze_epoch {
                0 => String::new(),
                epoch => format!(" until epoch {epoch}"),
            };
            return Err(misfit(
                key,
                format!("leaves no parameter to train{until}: head and loss have none"),
                format!("{stay}, or head.projection = \"linear\""),
            ));
        }
        Ok(())
    }

    /// To be called with the epoch that is about to be trained, counted from 0; thaws what is due
    /// and says so.
    pub fn begin_epoch(&mut self, epoch: u64) -> Option<String> {
        let at = self.config.unfreeze_epoch as u64;
        if self.thawed || at == 0 || epoch + 1 < at {
            return None;
        }
        self.thawed = true;
        for parameter in self.held.values() {
            let _ = parameter.set_requires_grad(true);
        }
        for (norm, _) in self.norms.iter().filter(|(_, until_thaw)| *until_thaw) {
            norm.set(false);
        }
        let (tensors, values) = counts(&self.held);
        Some(format!(
            "unfrozen with epoch {at}: {} of the backbone, {tensors} tensors, {values} values",
            self.part()
        ))
    }

    /// What is frozen, for people; None where `[finetune]` is as by default.
    pub fn notice(&self, epochs: usize) -> Option<String> {
        if self.config == Finetune::default() {
            return None;
        }
        let Finetune {
            freeze_stages,
            unfreeze_epoch,
            freeze_batch_norm,
            freeze_batch_norm_affine,
            gradient_checkpointing,
        } = self.config;
        let mut phrases = Vec::new();
        if self.frozen || freeze_stages > 0 {
            let (tensors, values) = counts(&self.held);
            let until = match unfreeze_epoch {
                0 => String::new(),
                late if late > epochs => {
                    format!(" until epoch {late}, which is after the last, {epochs}")
                }
                epoch => format!(" until epoch {epoch}"),
            };
            let part = self.part();
            phrases.push(format!("{part} frozen{until}, {tensors} tensors, {values} values"));
        }
        if freeze_batch_norm {
            let affine = if freeze_batch_norm_affine { ", with weights and biases" } else { "" };
            let count = self.norms.len();
            phrases.push(format!("statistics of {count} batch norms frozen{affine}"));
        }
        if gradient_checkpointing > 0 {
            let blocks = match gradient_checkpointing {
                1 => "one block".to_string(),
                blocks => format!("{blocks} blocks"),
            };
            phrases.push(format!("activations recomputed, {blocks} at a time"));
        }
        Some(format!("fine-tuning of {}: {}", self.kind, phrases.join("; ")))
    }

    fn part(&self) -> String {
        match (self.frozen, self.config.freeze_stages) {
            (true, _) => "all".to_string(),
            (false, 1) => format!("stem and stage 1 of {}", self.stages),
            (false, last) => format!("stem and stages 1 to {last} of {}", self.stages),
        }
    }
}

/// Tensors and values.
fn counts(tensors: &BTreeMap<String, Tensor>) -> (usize, usize) {
    (tensors.len(), tensors.values().map(Tensor::numel).sum())
}

#[cfg(test)]
mod tests {
    use crate::backbone::batch_norm;
    use crate::config::{Experiment, load_str};
    use std::collections::BTreeSet;
    use tch::{Device, nn};

    /// Every stage has tensors, stages are in the order of layers, and every batch norm has a switch.
    #[test]
    fn stages_cover_the_backbone_in_order() {
        for (kind, count) in [
            ("resnet18", 4),
            ("resnet50", 4),
            ("efficient_fr", 5),
            ("mobilefacenet", 6),
            ("embedding_2d", 3),
        ] {
            let text = format!("data.kind = \"synthetic_faces\"\nbackbone.kind = \"{kind}\"");
            let experiment: Experiment = load_str("x.toml", &text, &[]).unwrap().experiment;
            let store = nn::VarStore::new(Device::Cpu);
            let path = store.root() / "backbone";
            let (backbone, norms) = batch_norm::with_switches(|| experiment.backbone.build(&path));
            assert_eq!(backbone.stages(), count, "{kind}");
            let names: Vec<String> = store.variables().into_keys().collect();
            let below = |name: &String| name.strip_prefix("backbone.").unwrap().to_owned();
            let stages: BTreeSet<usize> =
                names.iter().map(|name| backbone.stage(&below(name))).collect();
            let first = usize::from(kind == "embedding_2d");
            assert_eq!(stages, (first..=count).collect(), "{kind}");
            let mut pairs: Vec<(usize, usize)> = names
                .iter()
                .map(|name| (backbone.layer(&below(name)), backbone.stage(&below(name))))
                .collect();
            pairs.sort();
            assert!(pairs.is_sorted_by_key(|(_, stage)| stage), "{kind}: {pairs:?}");

            let switches: BTreeSet<String> = norms.into_iter().map(|norm| norm.name).collect();
            let layers = names.iter().filter_map(|name| name.strip_suffix(".running_mean"));
            assert_eq!(switches, layers.map(String::from).collect(), "{kind}");
        }
    }

    #[test]
    fn stages_are_told_by_name() {
        let stage = |kind: &str, name: &str| {
            let text = format!("data.kind = \"synthetic_faces\"\nbackbone.kind = \"{kind}\"");
            let experiment: Experiment = load_str("x.toml", &text, &[]).unwrap().experiment;
            let store = nn::VarStore::new(Device::Cpu);
            experiment.backbone.build(&(store.root() / "backbone")).stage(name)
        };
        for (kind, name, expected) in [
            ("resnet18", "bn1.running_var", 0),
            ("resnet18", "layer2.0.downsample.1", 2),
            ("efficient_fr", "stages.0.0.depthwise.bn", 1),
            ("mobilefacenet", "dw_conv1.conv.weight", 0),
            ("mobilefacenet", "blocks.4.conv.7", 1),
            ("mobilefacenet", "blocks.5.conv.0.weight", 2),
            ("mobilefacenet", "blocks.14.conv.0.weight", 5),
            ("mobilefacenet", "linear7.bn.weight", 6),
            ("embedding_2d", "stages.2.1.conv.bias", 3),
        ] {
            assert_eq!(stage(kind, name), expected, "{kind}: {name}");
        }
    }
}
