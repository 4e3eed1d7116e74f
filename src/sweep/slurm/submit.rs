//! Submitting what is left of a sweep.

use super::script::Script;
use super::{Cluster, LAUNCHER, Queued, Slurm, jobs, queue};
use crate::sweep::{Journal, Manifest, Phase, Record, State};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// One array: tasks are counted from the place of the first trial, so that indices stay small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub first: usize,
    pub tasks: Vec<usize>,
}

impl Chunk {
    /// Indices up to the last task.
    pub fn span(&self) -> usize {
        self.tasks.last().map_or(0, |last| last + 1)
    }
}

/// Slurm refuses an array whose list of tasks has more than 4096 characters; some are left for the
/// limit of tasks at a time.
const LONGEST_LIST: usize = 4000;

/// The places, which are in order, as arrays whose indices are below `size` and whose lists of tasks
/// are short enough.
pub fn chunks(places: &[usize], size: usize) -> Vec<Chunk> {
    // Neighbours are written `first-last,`.
    let most_runs = LONGEST_LIST / (2 * size.to_string().len() + 2);
    let mut chunks: Vec<Chunk> = Vec::new();
    let (mut runs, mut next) = (0, None);
    for place in places {
        runs += usize::from(next != Some(*place));
        next = Some(place + 1);
        match chunks.last_mut().filter(|c| place - c.first < size && runs <= most_runs) {
            Some(chunk) => chunk.tasks.push(place - chunk.first),
            None => {
                runs = 1;
                chunks.push(Chunk { first: *place, tasks: vec![0] });
            }
        }
    }
    chunks
}

/// Submits a task for each trial that is not done, has no task that waits or runs, and that `left`
/// does not say is never started again. Says what it did.
///
/// With a limit of tasks at a time the arrays wait for each other, and for those of earlier
/// submissions: so it holds for all together.
///
/// # Errors
/// `Input`: Slurm's commands are missing or refuse, in their words. Arrays that were accepted
/// before are in the journal.
pub fn submit(
    cluster: &Cluster,
    folder: &Path,
    manifest: &Manifest,
    state: &State,
    settings: &Slurm,
    left: &dyn Fn(usize) -> bool,
    journal: &mut Journal,
) -> Result<String> {
    let places: Vec<usize> = (0..manifest.trials.len())
        .filter(|place| !is_done(state, *place) && !left(*place))
        .collect();
    if places.is_empty() {
        return Ok("nothing to submit: every trial is done".into());
    }
    let size = cluster.max_array_size()?;
    let earlier = queue(cluster, &jobs(state))?;
    let busy = |place: &usize| earlier.get(place).is_some_and(Queued::waits_or_runs);
    let (queued, places): (Vec<usize>, Vec<usize>) = places.into_iter().partition(busy);
    let also = match queued.len() {
        0 => String::new(),
        count => format!("; {count} more have a task that waits or runs already"),
    };
    if places.is_empty() {
        return Ok(format!(
            "nothing to submit: {} have a task that waits or runs",
            trials(queued.len())
        ));
    }
    let folder = absolute(folder)?;
    let directory = std::env::current_dir()
        .map_err(|e| Error::input(format!("cannot tell the working directory: {e}")))?;
    let program = std::env::current_exe()
        .map_err(|e| Error::failed(format!("cannot tell where this program is: {e}")))?;
    let scripts = folder.join(LAUNCHER);
    std::fs::create_dir_all(&scripts).map_err(|e| Error::io("make", &scripts, e))?;

    let chunks = chunks(&places, size);
    let mut before: Vec<String> = array_jobs(&earlier);
    let mut accepted = Vec::new();
    for chunk in &chunks {
        let script = Script {
            settings,
            name: &manifest.name,
            program: &program,
            folder: &folder,
            directory: &directory,
            first: chunk.first,
            tasks: &chunk.tasks,
        };
        let path = scripts.join(format!("from-{}.sh", chunk.first));
        std::fs::write(&path, script.text()?).map_err(|e| Error::io("write", &path, e))?;
        let after = if settings.concurrent > 0 { &before[..] } else { &[] };
        let job = sbatch(cluster, &path, after)?;
        let (first, count) = (chunk.first, chunk.span());
        journal.append(Record::Submitted {
            launcher: LAUNCHER.into(),
            job: job.clone(),
            first,
            count,
        })?;
        before = vec![job.clone()];
        accepted.push(job);
    }
    let arrays = match accepted.len() {
        1 => format!("job array {}", accepted[0]),
        count => format!("{count} job arrays ({})", accepted.join(", ")),
    };
    let output = scripts.join("JOB_TASK.out");
    Ok(format!(
        "submitted {} as {arrays}{also}; output: {}",
        trials(places.len()),
        output.display()
    ))
}

fn trials(count: usize) -> String {
    format!("{count} trial{}", if count == 1 { "" } else { "s" })
}

fn is_done(state: &State, place: usize) -> bool {
    matches!(state.trials[place].phase, Phase::Finished | Phase::Pruned)
}

/// The arrays that have a task that waits or runs.
fn array_jobs(queue: &std::collections::BTreeMap<usize, Queued>) -> Vec<String> {
    let live = queue.values().filter(|queued| queued.waits_or_runs());
    let mut jobs: Vec<String> =
        live.filter_map(|queued| Some(queued.job.split_once('_')?.0.to_owned())).collect();
    jobs.sort();
    jobs.dedup();
    jobs
}

/// Hands a script to Slurm, to start after the jobs `after` have ended; returns the job.
fn sbatch(cluster: &Cluster, script: &Path, after: &[String]) -> Result<String> {
    let path = script.to_str().expect("the script names its folder, so that is UTF-8");
    let dependency = format!("--dependency=afterany:{}", after.join(":"));
    let mut arguments = vec!["--parsable"];
    if !after.is_empty() {
        arguments.push(&dependency);
    }
    arguments.push(path);
    let said = cluster.say("sbatch", &arguments)?;
    let refused = |words: &str| {
        Error::input(format!("Slurm refuses the job script {path}: {words}"))
            .help("mend `[launcher.slurm]` in the sweep file and submit again")
    };
    if !said.good {
        return Err(refused(said.complaint()));
    }
    // JOB, or JOB;CLUSTER where there are several.
    let job =
        said.stdout.lines().last().and_then(|line| line.split(';').next()).unwrap_or("").trim();
    match job.parse::<u64>() {
        Ok(_) => Ok(job.to_owned()),
        Err(_) => Err(refused(&format!("it answered {:?} instead of a job", said.stdout.trim()))),
    }
}

fn absolute(folder: &Path) -> Result<PathBuf> {
    folder.canonicalize().map_err(|e| Error::io("find", folder, e).into_input())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::slurm::script::ranges;

    #[test]
    fn arrays_are_as_long_as_slurm_allows() {
        let places: Vec<usize> = (0..12).collect();
        let spans: Vec<(usize, usize)> =
            chunks(&places, 5).iter().map(|chunk| (chunk.first, chunk.span())).collect();
        assert_eq!(spans, [(0, 5), (5, 5), (10, 2)]);
        // Every place once.
        let all = |chunks: &[Chunk]| -> Vec<usize> {
            chunks.iter().flat_map(|c| c.tasks.iter().map(|task| c.first + task)).collect()
        };
        assert_eq!(all(&chunks(&places, 5)), places);
        let sparse = [3, 4, 9, 20];
        assert_eq!(all(&chunks(&sparse, 5)), sparse);
        let expected = Chunk { first: 3, tasks: vec![0, 1, 6] };
        assert_eq!(chunks(&sparse, 7)[0], expected);
        assert_eq!(chunks(&sparse, 1).len(), 4);
        assert!(chunks(&[], 5).is_empty());
    }

    #[test]
    fn lists_of_tasks_are_as_short_as_slurm_wants_them() {
        let every_other: Vec<usize> = (0..30_000).step_by(2).collect();
        // Pairs are the longest way to write a list.
        let pairs: Vec<usize> = (0..30_000).filter(|place| place % 3 > 0).collect();
        for places in [every_other, pairs] {
            for size in [1001, 20_001, 4_000_001] {
                let chunks = chunks(&places, size);
                let all = chunks.iter().flat_map(|c| c.tasks.iter().map(|task| c.first + task));
                assert_eq!(all.collect::<Vec<_>>(), places);
                let longest = chunks.iter().map(|chunk| ranges(&chunk.tasks).len()).max();
                assert!(longest.unwrap() <= LONGEST_LIST, "{longest:?}");
            }
        }
    }
}
