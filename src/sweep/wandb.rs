//! A sweep's trials in Weights & Biases: shown as one group.

use super::{Manifest, Trial};
use crate::config::Experiment;

/// What trials are among the jobs of a group.
const JOB_TYPE: &str = "trial";

/// Puts a trial into the sweep's group, under the trial's name. What the experiment states stays,
/// and so does a group or a job type of the environment; one name for all trials would be none.
pub fn settings(manifest: &Manifest, trial: &Trial, experiment: &mut Experiment) {
    let variable = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let wandb = &mut experiment.record.wandb;
    for (stated, ours, elsewhere) in [
        (&mut wandb.group, manifest.name.as_str(), variable("WANDB_RUN_GROUP")),
        (&mut wandb.job_type, JOB_TYPE, variable("WANDB_JOB_TYPE")),
        (&mut wandb.display_name, trial.name.as_str(), false),
    ] {
        if stated.is_empty() && !elsewhere {
            ours.clone_into(stated);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stated_stays() {
        let manifest = Manifest { name: "grid".into(), ..Manifest::default() };
        let trial = Trial { name: "lr=0.1".into(), ..Trial::default() };
        let mut experiment = Experiment::default();
        settings(&manifest, &trial, &mut experiment);
        let wandb = &experiment.record.wandb;
        let told = [&wandb.group, &wandb.job_type, &wandb.display_name];
        assert_eq!(told, ["grid", "trial", "lr=0.1"]);
        experiment.record.wandb.group = "mine".into();
        experiment.record.wandb.display_name = String::new();
        settings(&manifest, &trial, &mut experiment);
        assert_eq!(experiment.record.wandb.group, "mine");
        assert_eq!(experiment.record.wandb.display_name, "lr=0.1");
    }
}
