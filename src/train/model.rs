//! The model: backbone and head, with their named parameters, a text tower with a head of its own where
//! there is one, and the loss beside them.

use super::divided::Divided;
use super::freezing::Freezing;
use crate::backbone::{Backbone, batch_norm};
use crate::config::Experiment;
use crate::data::{Channels, Preprocess};
use crate::evaluate::no_texts;
use crate::head::Head;
use crate::loss::Loss;
use crate::loss::sharded::ShardedRows;
use crate::optimizer::groups::{Grouped, Misfit};
use crate::plan::Plan;
use crate::random::{Stream, derive};
use crate::text::{TextTower, tokenizer};
use crate::torch::precision::Exact;
use crate::{Error, Result};
use std::collections::{BTreeMap, HashSet};
use tch::{Device, Kind, Tensor, nn};

/// Backbone, head, text tower and loss over one `VarStore`: names begin with `backbone.`, `head.`,
/// `text.`, `text_head.`, `loss.`.
#[derive(Debug)]
pub struct Model {
    store: nn::VarStore,
    backbone: Box<dyn Backbone>,
    head: Head,
    text: Option<TextPart>,
    pub loss: Box<dyn Loss>,
    freezing: Freezing,
    dim: i64,
    /// The network takes blue, green, red.
    reversed: bool,
    mean: Tensor,
    std: Tensor,
}

impl Model {
    /// Initial weights depend on `experiment.seed` alone. `classes` is the number of training
    /// identities.
    pub fn build(experiment: &Experiment, classes: usize, device: Device) -> Self {
        tch::manual_seed(derive(experiment.seed, Stream::Init, 0, 0) as i64);
        let store = nn::VarStore::new(device);
        let root = store.root();
        let (mut backbone, norms) =
            batch_norm::with_switches(|| experiment.backbone.build(&(&root / "backbone")));
        let head = experiment.head.build(&(&root / "head"), backbone.features());
        let text = experiment.text.build(&(&root / "text")).map(|tower| TextPart {
            head: experiment.head.build(&(&root / "text_head"), tower.features()),
            tower,
            frozen: experiment.text.common().1,
        });
        if text.as_ref().is_some_and(|text| text.frozen) {
            let of_tower = |name: &String| name.starts_with("text.");
            for (_, tensor) in store.variables().into_iter().filter(|(name, _)| of_tower(name)) {
                let _ = tensor.set_requires_grad(false);
            }
        }
        let dim = experiment.head.embedding_dim as i64;
        let loss = experiment.loss.build(&(&root / "loss"), dim, classes as i64);
        let tensors = store.variables().into_iter().collect();
        let freezing = Freezing::new(experiment, backbone.as_mut(), norms, &tensors);
        let Preprocess { mean, std, channels, .. } = experiment.preprocess.build();
        let reversed = channels == Channels::Bgr;
        let channel = |values: &[f32]| Tensor::from_slice(values).view([1, 3, 1, 1]).to(device);
        let (mean, std) = (channel(&mean), channel(&std));
        Model { store, backbone, head, text, loss, freezing, dim, reversed, mean, std }
    }

    pub fn device(&self) -> Device {
        self.store.device()
    }

    /// Length of an embedding.
    pub fn dim(&self) -> i64 {
        self.dim
    }

    /// Every parameter and buffer by name, sorted; shares storage with the model.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.store.variables().into_iter().collect()
    }

    /// The parameters that training moves now, by name, sorted.
    pub fn parameters(&self) -> BTreeMap<String, Tensor> {
        self.tensors().into_iter().filter(|(_, tensor)| tensor.requires_grad()).collect()
    }

    /// Parameters that the ranks divide among themselves, by name.
    pub fn divided(&self) -> Divided {
        let full = |rows: ShardedRows| (format!("loss.{}", rows.name), rows);
        Divided(self.loss.sharded().into_iter().map(full).collect())
    }

    /// What is no parameter, by name, sorted: running statistics, state of the loss, weights fixed by
    /// the architecture.
    pub fn buffers(&self) -> BTreeMap<String, Tensor> {
        let trainable = self.store.trainable_variables();
        let of_one: HashSet<usize> = trainable.iter().map(|one| one.data_ptr() as usize).collect();
        let is_buffer = |tensor: &Tensor| !of_one.contains(&(tensor.data_ptr() as usize));
        self.tensors().into_iter().filter(|(_, tensor)| is_buffer(tensor)).collect()
    }

    /// What training moves, now or after `finetune.unfreeze_epoch`, and the buffers.
    pub fn moving(&self) -> BTreeMap<String, Tensor> {
        let mut moving = self.buffers();
        moving.extend(self.parameters());
        let waiting = self.freezing.waiting();
        moving.extend(waiting.map(|(name, tensor)| (name.clone(), tensor.shallow_clone())));
        moving
    }

    /// The parameters that training moves, now or after `finetune.unfreeze_epoch`, each with its
    /// share of the learning rate and of the weight decay; freezes those that `[groups]` says. What
    /// the loss exempts never decays.
    ///
    /// # Errors
    /// The experiment's groups or its fine-tuning don't fit the model, or nothing is left to train.
    pub fn grouped(&mut self, plan: &Plan) -> Result<Grouped> {
        let exempt = self.loss.without_decay().into_iter().map(|name| format!("loss.{name}"));
        let exempt: Vec<String> = exempt.collect();
        let height = |name: &str| self.backbone.layers() - self.backbone.layer(name);
        let misfit = |Misfit { key, message, help }| plan.error(&key, message, &help);
        let mut parameters = self.parameters();
        let waiting = self.freezing.waiting();
        parameters.extend(waiting.map(|(name, tensor)| (name.clone(), tensor.shallow_clone())));
        let groups = &plan.experiment.groups;
        let grouped = groups.apply(parameters, &height, &exempt).map_err(misfit)?;
        self.freezing.check(&grouped).map_err(misfit)?;
        Ok(grouped)
    }

    /// What of the backbone is frozen, for people; None without `[finetune]`. `epochs` is the last.
    pub fn frozen_notice(&self, epochs: usize) -> Option<String> {
        self.freezing.notice(epochs)
    }

    /// To be called before an epoch, counted from 0, is trained: what is frozen depends on it.
    /// Returns what there is to say.
    pub fn begin_epoch(&mut self, epoch: u64) -> Option<String> {
        self.freezing.begin_epoch(epoch)
    }

    /// Copies values in by name. Names and shapes have been checked by the caller.
    pub fn load(&self, tensors: &BTreeMap<String, Tensor>) {
        let mut own = self.tensors();
        tch::no_grad(|| {
            for (name, value) in tensors {
                if let Some(tensor) = own.get_mut(name) {
                    tensor.copy_(value);
                }
            }
        });
    }

    /// Pixels to network input, in its order of channels: (x / 255 - mean) / std.
    ///
    /// # Shapes
    /// uint8 [B, 3, H, W] on any device -> float32 [B, 3, H, W] on the model's.
    pub fn normalize(&self, pixels: &Tensor) -> Tensor {
        let mut images = pixels.to_device(self.device()).to_kind(Kind::Float);
        if self.reversed {
            images = images.flip([1]);
        }
        let _ = images.g_div_scalar_(255.0);
        let _ = images.g_sub_(&self.mean);
        images.g_div_(&self.std)
    }

    /// # Shapes
    /// images [B, 3, H, W], normalised -> embedding [B, D], of any norm without `head.normalize`.
    pub fn embed(&self, images: &Tensor, train: bool) -> Tensor {
        let features = if self.freezing.is_whole() {
            // Batch norm of a frozen backbone keeps its statistics too.
            tch::no_grad(|| self.backbone.forward(images, false))
        } else {
            self.backbone.forward(images, train)
        };
        self.head.forward(&features, train)
    }

    /// Whether there is a text tower.
    pub fn has_text(&self) -> bool {
        self.text.is_some()
    }

    /// Captions as the text tower takes them, on the model's device; None of a model without one.
    ///
    /// # Shapes
    /// int64 [B, L]
    pub fn tokens<T: AsRef<str>>(&self, captions: &[T]) -> Option<Tensor> {
        let TextPart { tower, .. } = self.text.as_ref()?;
        let tokens = tokenizer::tokenize(captions, tower.context_length() as usize);
        Some(tokens.to_device(self.device()))
    }

    /// None of a model without a text tower.
    ///
    /// # Shapes
    /// tokens int64 [B, L] -> embedding [B, D], as [`Model::embed`].
    pub fn embed_tokens(&self, tokens: &Tensor, train: bool) -> Option<Tensor> {
        let TextPart { tower, head, frozen } = self.text.as_ref()?;
        let features = match frozen {
            true => tch::no_grad(|| tower.forward(tokens)),
            false => tower.forward(tokens),
        };
        Some(head.forward(&features, train))
    }

    /// Embeddings of captions for evaluation and search.
    ///
    /// # Shapes
    /// A row of `dim()` values for each.
    ///
    /// # Errors
    /// A model without a text tower.
    pub fn embed_captions<T: AsRef<str>>(&self, captions: &[T]) -> Result<Vec<f32>> {
        let _exact = Exact::new()?;
        let mut rows = Vec::with_capacity(captions.len() * self.dim as usize);
        for batch in captions.chunks(CAPTIONS) {
            let embedding = tch::no_grad(|| self.embed_tokens(&self.tokens(batch)?, false));
            let Some(embedding) = embedding else { return no_texts(&[]) };
            let values = embedding.to_kind(Kind::Float).contiguous().view(-1);
            let values = Vec::<f32>::try_from(values);
            rows.extend(values.map_err(|e| Error::failed(e.to_string()))?);
        }
        Ok(rows)
    }
}

/// Captions embedded at a time.
const CAPTIONS: usize = 256;

/// What embeds captions.
#[derive(Debug)]
struct TextPart {
    tower: Box<dyn TextTower>,
    head: Head,
    /// The tower, not its head.
    frozen: bool,
}
