//! Batch norm (Ioffe & Szegedy 2015, arXiv:1502.03167) that can keep its statistics while the rest
//! trains, that a recomputed segment does not move twice, and that several processes share.
//!
//! Every backbone's batch norms are these: `finetune.freeze_stages` and `finetune.freeze_batch_norm`
//! reach them by their [`Switch`]es.

use crate::distributed;
use crate::torch::c10d::SyncBatchNorm;
use crate::torch::checkpointing::recomputing;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tch::Tensor;
use tch::nn::{self, Init, ModuleT};

/// Over all but the second dimension; parameters and statistics have torch's names.
#[derive(Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: f64,
    eps: f64,
    frozen: Arc<AtomicBool>,
}

impl BatchNorm {
    /// Momentum 0.1 and eps 1e-5, starting as the identity.
    pub fn new(path: &nn::Path, channels: i64) -> Self {
        Self::with(path, channels, 0.1, 1e-5)
    }

    /// The same with another momentum (the share of a new batch) and eps.
    pub fn with(path: &nn::Path, channels: i64, momentum: f64, eps: f64) -> Self {
        let weight = path.var("weight", &[channels], Init::Const(1.0));
        Self::over(path, weight, momentum, eps)
    }

    /// With a weight of 1 that does not train, as InsightFace's networks end; it has its place among
    /// the parameters' names.
    pub fn fixed_scale(path: &nn::Path, channels: i64) -> Self {
        Self::over(path, path.ones_no_train("weight", &[channels]), 0.1, 1e-5)
    }

    fn over(path: &nn::Path, weight: Tensor, momentum: f64, eps: f64) -> Self {
        let channels = weight.size()[0];
        let frozen = Arc::new(AtomicBool::new(false));
        BUILT.with_borrow_mut(|built| {
            if let Some(switches) = built {
                let weight_name = path.path("weight");
                let name = weight_name.strip_suffix(".weight").unwrap_or_default().to_string();
                switches.push(Switch { name, frozen: Arc::clone(&frozen) });
            }
        });
        BatchNorm {
            weight,
            bias: path.var("bias", &[channels], Init::Const(0.0)),
            running_mean: path.zeros_no_train("running_mean", &[channels]),
            running_var: path.ones_no_train("running_var", &[channels]),
            momentum,
            eps,
            frozen,
        }
    }
}

impl ModuleT for BatchNorm {
    /// # Shapes
    /// [B, C] or [B, C, ...] to the same shape.
    ///
    /// Where another of the processes that share their statistics is lost, it goes up to
    /// [`distributed::caught`].
    fn forward_t(&self, maps: &Tensor, train: bool) -> Tensor {
        let train = train && !self.frozen.load(Ordering::Relaxed);
        // The batch's own statistics normalise it; moving the running ones belongs to the first run.
        let moves = !(train && recomputing());
        if let Some(group) = distributed::of_batch_norms().filter(|_| train) {
            let shared = SyncBatchNorm {
                weight: &self.weight,
                bias: &self.bias,
                running: moves.then_some((&self.running_mean, &self.running_var)),
                momentum: self.momentum,
                eps: self.eps,
            };
            let normed = shared.forward(group.handle(), maps);
            return normed.unwrap_or_else(|error| {
                let text = error.to_string();
                distributed::give_up(group.failed("share a batch norm's statistics", &text))
            });
        }
        maps.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            moves.then_some(&self.running_mean),
            moves.then_some(&self.running_var),
            train,
            self.momentum,
            self.eps,
            true,
        )
    }
}

/// Holds the statistics of one batch norm where they are, or lets them go.
#[derive(Debug)]
pub struct Switch {
    /// Full name of the layer, such as `backbone.layer1.0.bn1`.
    pub name: String,
    frozen: Arc<AtomicBool>,
}

impl Switch {
    /// Frozen: the running statistics normalise in training too, and stay.
    pub fn set(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
    }
}

thread_local! {
    /// Switches of the batch norms built so far; None outside of [`with_switches`].
    static BUILT: RefCell<Option<Vec<Switch>>> = const { RefCell::new(None) };
}

/// What `build` makes, and a switch for each batch norm in it.
pub fn with_switches<T>(build: impl FnOnce() -> T) -> (T, Vec<Switch>) {
    let before = BUILT.replace(Some(Vec::new()));
    let built = build();
    let switches = BUILT.replace(before).unwrap_or_default();
    (built, switches)
}
