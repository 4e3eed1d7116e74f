//! The top-level tables that are not families of parts.

use crate::sweep::settings::Goal;
use crate::wandb::Wandb;
use std::path::PathBuf;

crate::config_struct! {
    /// Where data sets and results lie.
    pub struct Paths {
        /// Folder that relative data roots are looked up in.
        pub datasets: PathBuf = "datasets".into(), required();
        /// Folder that receives `<experiment>/<run-id>/`.
        pub results: PathBuf = "results".into(), required();
    }
}

crate::config_choice! {
    /// Number format of the forward and backward pass.
    pub enum Amp {
        /// float32 throughout.
        Off = "off",
        /// bfloat16 where autocast allows it.
        Bf16 = "bf16",
        /// float16 where autocast allows it, with loss scaling.
        Fp16 = "fp16",
    }
}

crate::config_struct! {
    /// Stops training when a metric no longer improves.
    pub struct EarlyStopping {
        /// Epochs without improvement after which training stops; 0 is off. An epoch in which the
        /// metric is not measured does not count.
        pub patience: usize = 0;
        /// Smallest change of the metric that counts as an improvement.
        pub min_delta: f64 = 0.0, non_negative();
        /// A column of epochs.csv, or SET/METRIC of an evaluation set such as `lfw/accuracy`; empty:
        /// the loss that `min-loss` compares.
        pub metric: String = String::new();
        /// `maximize`, `minimize` or, by the metric's name, `auto`.
        pub goal: Goal = Goal::Auto;
    }
}

crate::config_choice! {
    /// What to do when the loss, the embeddings or a gradient stop being finite.
    pub enum OnNonFinite {
        /// End the run: exit code 3, with a note of what was seen in crash.txt.
        Stop = "stop",
        /// Leave the step out: weights, buffers and optimizer stay as they were before it.
        Skip = "skip",
        /// Go back to the weights of the last checkpoint and on with the data that follows.
        Rollback = "rollback",
    }
}

crate::config_choice! {
    /// A signal that asks the run to stop with a checkpoint.
    pub enum StopSignal {
        /// What Slurm sends before a time limit where it is told to.
        Usr1 = "SIGUSR1",
        /// Another that users may send.
        Usr2 = "SIGUSR2",
        /// What a closing terminal sends.
        Hup = "SIGHUP",
    }
}

crate::config_struct! {
    /// An exponential moving average of the weights, evaluated and saved beside them.
    pub struct Ema {
        /// Share of the average that an update keeps; 0 is off.
        pub decay: f64 = 0.0, below(0.0, 1.0);
        /// Optimizer steps between updates.
        pub every_steps: usize = 1, at_least(1);
        /// Keep less at first: min(decay, (1 + n) / (10 + n)) in update n, from 0.
        pub warmup: bool = false;
    }
}

crate::config_struct! {
    /// The training loop.
    pub struct Train {
        /// Passes over the training data.
        pub epochs: usize = 10, at_least(1);
        /// Images per forward and backward pass.
        pub batch_size: usize = 128, at_least(1);
        /// Batches whose gradients are averaged into one optimizer step.
        pub accumulate: usize = 1, at_least(1);
        /// Automatic mixed precision.
        pub amp: Amp = Amp::Off;
        /// `auto`, `cpu`, `cuda:N` or `mps`.
        pub device: String = "auto".into(), required();
        /// CPU threads of one operation; 0 is one per core. Recorded, for the bits depend on it.
        pub threads: usize = 0, at_most(1024);
        /// The same seed gives the same bits, at some cost on a GPU.
        pub deterministic: bool = true;
        /// Whether float32 matrix products and convolutions on a GPU round their inputs to TensorFloat-32:
        /// faster, 10 bits of mantissa instead of 23.
        pub tf32: bool = false;
        /// Whether cuDNN times its algorithms and takes the fastest, with `deterministic = false`.
        pub cudnn_benchmark: bool = false;
        /// Store images as N, H, W, C in memory.
        pub channels_last: bool = false;
        /// Largest L2 norm of all gradients together; 0 is off.
        pub clip_grad_norm: f64 = 0.0, non_negative();
        /// Largest magnitude of each gradient element, after `clip_grad_norm`; 0 is off.
        pub clip_grad_value: f64 = 0.0, non_negative();
        /// Leave out the last batch of an epoch when it is smaller than the others.
        pub drop_last: bool = false;
        /// Optimizer steps after which training ends, whatever the epoch; 0 is no limit.
        pub max_steps: usize = 0;
        /// Time of training, resumed parts together, after which it ends: `90m`, `2h 30m`, `1d`;
        /// empty is no limit.
        pub max_time: String = String::new(), duration_or_empty();
        /// Train on the first batches only, the same in every epoch, as they are (without
        /// augmentation): a network that can't learn these by heart has a fault. 0 is off.
        pub overfit_batches: usize = 0;
        /// What to do when the loss, the embeddings or a gradient stop being finite.
        pub on_nonfinite: OnNonFinite = OnNonFinite::Stop;
        /// Steps left out in a row, or returns to a checkpoint in all, after which the run ends
        /// anyway.
        pub max_nonfinite: usize = 10, at_least(1);
        /// Signals that ask for a stop with a checkpoint, beside SIGINT and SIGTERM.
        pub stop_signals: Vec<StopSignal> = vec![StopSignal::Usr1, StopSignal::Usr2];
        /// An average of the weights.
        pub ema: Ema = Ema::default();
        /// When to stop before the last epoch.
        pub early_stopping: EarlyStopping = EarlyStopping::default();
    }
}

crate::config_struct! {
    /// Several processes that train one network: under torchrun, srun or `--nproc`.
    pub struct Distributed {
        /// Batch norms see the whole batch, not this process's part of it.
        pub sync_batch_norm: bool = true;
        /// Patience with another process, at the start and in every step: `90s`, `30m`.
        pub timeout: String = "30m".into(), duration();
    }
}

crate::config_struct! {
    /// How images get from disk to the network.
    pub struct Loader {
        /// Threads that decode and augment; 0 is one per core.
        pub workers: usize = 0, at_most(1024);
        /// Batches prepared ahead.
        pub prefetch: usize = 4, between(1, 4096);
    }
}

crate::config_struct! {
    /// What is kept of the training besides the latest and the best state.
    pub struct Checkpoint {
        /// Epochs between checkpoints that are kept; 0 keeps only `latest` and `min-loss`.
        pub every_epochs: usize = 0;
        /// The last epochs whose checkpoints are kept; 0 keeps none for that.
        pub last_epochs: usize = 0;
        /// Optimizer steps between writes of `latest`; 0 writes it at the end of an epoch only.
        pub every_steps: usize = 0;
        /// Epochs between copies of the weights alone; 0 is none.
        pub weights_every_epochs: usize = 0;
        /// Metrics whose best checkpoint is kept beside `min-loss`, as train.early_stopping.metric
        /// names them: `["lfw/accuracy"]`.
        pub best: Vec<String> = Vec::new();
        /// Whether training goes on while a checkpoint is written, from a copy in memory.
        pub background: bool = true;
    }
}

crate::config_struct! {
    /// What a run writes down about itself.
    pub struct Record {
        /// Optimizer steps after which rows of `steps.csv` are brought to the disk.
        pub every_steps: usize = 50, at_least(1);
        /// Whether each evaluation writes the distance of every pair to `scores/SET/CHECKPOINT.csv`.
        pub scores: bool = true;
        /// Whether pictures of the training and of the evaluations are drawn into `plots/` after
        /// each epoch.
        pub plots: bool = true;
        /// Whether event files for TensorBoard are written into `tensorboard/`.
        pub tensorboard: bool = false;
        /// Epochs between records of embeddings, for `run plot embeddings`; 0 is never. The first is
        /// taken before training.
        pub embeddings_every_epochs: usize = 0;
        /// Images whose embeddings are recorded at most, evenly over the identities: of the
        /// validation images, or where there are none, of those trained on.
        pub embeddings_samples: usize = 1000, at_least(2);
        /// Weights & Biases.
        pub wandb: Wandb = Wandb::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DEFAULTS, Experiment, Field, Shape, default_value, load_str};

    fn load(text: &str) -> crate::Result<Experiment> {
        let text = format!("data.kind = \"synthetic_faces\"\n{text}");
        load_str("x.toml", &text, &[]).map(|loaded| loaded.experiment)
    }

    /// Lines that `defaults.toml` and the structs' defaults do not share; of a family only the
    /// kind belongs there.
    fn differences(
        path: &str,
        shape: &Shape,
        default: &toml::Value,
        stated: Option<&toml::Value>,
        found: &mut Vec<String>,
    ) {
        let keys: Vec<(&str, Shape)> = match shape {
            Shape::Table(table) => table().keys.into_iter().map(|k| (k.name, k.shape)).collect(),
            Shape::Family(_) => vec![("kind", Shape::Leaf("string"))],
            _ if stated == Some(default) => return,
            _ => return found.push(format!("{path} = {default}, defaults.toml: {stated:?}")),
        };
        for name in stated.and_then(|s| s.as_table()).into_iter().flat_map(|t| t.keys()) {
            if !keys.iter().any(|(key, _)| key == name) {
                found.push(format!("{path}.{name} is no key"));
            }
        }
        for (name, shape) in &keys {
            let path = format!("{path}.{name}");
            differences(&path, shape, &default[*name], stated.and_then(|s| s.get(name)), found);
        }
    }

    #[test]
    fn defaults_file_agrees_with_the_structs() {
        let stated: toml::Value = toml::from_str(DEFAULTS).unwrap();
        let mut found = Vec::new();
        let default = default_value(&Experiment::default());
        differences("", &Experiment::shape(), &default, Some(&stated), &mut found);
        assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn a_project_that_wandb_refuses_is_refused() {
        assert!(load("[record.wandb]\nproject = \"faces 1\"").is_ok());
        let refused = load("[record.wandb]\nproject = \"a/b\"").unwrap_err().to_string();
        assert!(refused.contains("`record.wandb.project`"), "{refused}");
    }

    #[test]
    fn empty_paths_are_refused() {
        let refused = load("[paths]\nresults = \"\"").unwrap_err().to_string();
        assert!(refused.contains("`paths.results`"), "{refused}");
    }
}
