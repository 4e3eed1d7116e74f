//! What each trial that runs at the same time gets: CPU threads and a GPU.

use crate::sweep::Running;

/// The share of the machine of one trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// CPU threads; also of the loader.
    pub threads: usize,
    /// What CUDA_VISIBLE_DEVICES is set to; none leaves it as it is.
    pub gpu: Option<String>,
}

/// The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; `visible` is that
/// variable, `count` asks the driver.
pub fn gpus(visible: Option<&str>, count: impl FnOnce() -> usize) -> Vec<String> {
    match visible {
        Some(list) => {
            // CUDA stops at the first that is none, such as -1.
            let names = list.split(',').map(str::trim);
            names.take_while(|name| !name.is_empty() && *name != "-1").map(str::to_owned).collect()
        }
        None => (0..count()).map(|index| index.to_string()).collect(),
    }
}

/// How many GPUs the driver knows.
pub fn installed() -> usize {
    let nvml = nvml_wrapper::Nvml::init().ok();
    nvml.and_then(|nvml| nvml.device_count().ok()).unwrap_or(0) as usize
}

/// Divides `cores` and `gpus` among the trials: a GPU each, round and round where there are more
/// jobs.
pub fn divide(running: &Running, jobs: Option<usize>, cores: usize, gpus: &[String]) -> Vec<Slot> {
    let jobs = match jobs.unwrap_or(running.jobs) {
        0 => gpus.len().max(1),
        jobs => jobs,
    };
    let threads = match running.threads {
        0 => (cores / jobs).max(1),
        threads => threads,
    };
    let gpu = |job: usize| (!gpus.is_empty()).then(|| gpus[job % gpus.len()].clone());
    (0..jobs).map(|job| Slot { threads, gpu: gpu(job) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        let running = Running::default();
        let names = |slots: &[Slot]| -> Vec<(usize, Option<String>)> {
            slots.iter().map(|slot| (slot.threads, slot.gpu.clone())).collect()
        };
        assert_eq!(names(&divide(&running, None, 8, &[])), [(8, None)]);
        assert_eq!(names(&divide(&running, Some(3), 8, &[])), vec![(2, None); 3]);
        assert_eq!(names(&divide(&running, Some(4), 2, &[])).len(), 4);
        let two = gpus(Some("2, GPU-ab,-1,7"), || unreachable!());
        assert_eq!(two, ["2", "GPU-ab"]);
        assert_eq!(
            names(&divide(&running, None, 8, &two)),
            [(4, Some("2".into())), (4, Some("GPU-ab".into()))]
        );
        assert_eq!(divide(&running, Some(3), 8, &two)[2].gpu.as_deref(), Some("2"));
        assert!(gpus(Some(""), || 4).is_empty());
        assert_eq!(gpus(None, || 2), ["0", "1"]);
    }
}
