//! Who this process is among several, by the variables of torchrun or of Slurm's srun.

use super::nodelist::first_host;
use crate::{Error, Result};

/// Whose variables were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    Torchrun,
    Slurm,
}

/// One of several processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    pub launcher: Launcher,
    /// Among all, from 0.
    pub rank: usize,
    /// Among those of this machine, from 0.
    pub local_rank: usize,
    /// Of all, at least 2.
    pub size: usize,
    /// Of this machine, where the launcher says.
    pub local_size: Option<usize>,
    /// Where rank 0 is met.
    pub master: String,
    pub port: u16,
    /// How often this job was started again.
    pub restarts: usize,
    /// The job's name with the launcher.
    pub run: String,
    /// torchrun itself runs the store at the master's port.
    pub agent_store: bool,
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Launch {
    /// By the environment of this process; None of one process.
    ///
    /// # Errors
    /// Variables that are missing, make no sense or contradict each other.
    pub fn from_environment() -> Result<Option<Launch>> {
        Self::of(&|name| std::env::var(name).ok())
    }

    /// By variables that `lookup` finds; an empty one counts as missing.
    ///
    /// # Errors
    /// Variables that are missing, make no sense or contradict each other.
    pub fn of(lookup: Lookup<'_>) -> Result<Option<Launch>> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let torch = torchrun(&lookup)?;
        // torchrun may itself be started by srun, once for each machine: its variables are the inner ones.
        if torch.is_some() && lookup("TORCHELASTIC_RUN_ID").is_some() {
            return Ok(torch.filter(|launch| launch.size > 1));
        }
        let slurm = slurm(&lookup)?;
        if let (Some(torch), Some(slurm)) = (&torch, &slurm) {
            agree("WORLD_SIZE", torch.size, "SLURM_NTASKS", slurm.size)?;
            agree("RANK", torch.rank, "SLURM_PROCID", slurm.rank)?;
            agree("LOCAL_RANK", torch.local_rank, "SLURM_LOCALID", slurm.local_rank)?;
        }
        Ok(torch.or(slurm).filter(|launch| launch.size > 1))
    }
}

fn agree(one: &str, value: usize, other: &str, second: usize) -> Result<()> {
    if value == second {
        return Ok(());
    }
    let message =
        format!("{one} is {value}, but {other} is {second}: two launchers contradict each other");
    Err(Error::input(message).help(format!(
        "start with torchrun or with srun; with srun alone unset {one} and the variables set with it"
    )))
}

fn missing(name: &str, beside: &str) -> Error {
    Error::input(format!("{beside} is set, but {name} is not: part of a launcher's environment is missing"))
        .help(format!(
            "start with torchrun, srun or `--nproc`, which set all of it; for one process unset {beside}"
        ))
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value.trim().parse().map_err(|_| {
        Error::input(format!("{name} is \"{value}\", which is no number that it can be"))
            .help("start with torchrun, srun or `--nproc`, which set it")
    })
}

/// A port that others can be told of.
fn port_of(value: &str) -> Result<u16> {
    let port = number("MASTER_PORT", value)?;
    if port > 0 {
        return Ok(port);
    }
    Err(Error::input("MASTER_PORT is 0, which is a port that nobody knows")
        .help("set it to a free port of MASTER_ADDR, the same on all ranks"))
}

/// `rank` below `size`, or an error that names both variables.
fn below(name: &str, rank: usize, whole: &str, size: usize) -> Result<()> {
    if rank < size {
        return Ok(());
    }
    let message = format!("{name} is {rank}, but {whole} is {size}: ranks count from 0");
    Err(Error::input(message).help("start with torchrun, srun or `--nproc`, which set both"))
}

fn torchrun(lookup: Lookup<'_>) -> Result<Option<Launch>> {
    let beside = match (lookup("RANK"), lookup("WORLD_SIZE")) {
        (None, None) => return Ok(None),
        (Some(_), _) => "RANK",
        (None, Some(_)) => "WORLD_SIZE",
    };
    let required = |name: &str| lookup(name).ok_or_else(|| missing(name, beside));
    let optional = |name: &str| lookup(name).map(|value| number(name, &value)).transpose();
    let rank = number("RANK", &required("RANK")?)?;
    let size = number("WORLD_SIZE", &required("WORLD_SIZE")?)?;
    below("RANK", rank, "WORLD_SIZE", size)?;
    if size == 1 {
        // One process needs no master, and some shells keep these two set.
        return Ok(Some(Launch::alone()));
    }
    let local_rank = number("LOCAL_RANK", &required("LOCAL_RANK")?)?;
    let local_size: Option<usize> = optional("LOCAL_WORLD_SIZE")?;
    match local_size {
        Some(local) => {
            below("LOCAL_RANK", local_rank, "LOCAL_WORLD_SIZE", local)?;
            if local > size {
                let message = format!("LOCAL_WORLD_SIZE is {local}, but WORLD_SIZE is {size}");
                return Err(Error::input(message).help("start with torchrun or `--nproc`"));
            }
        }
        None => below("LOCAL_RANK", local_rank, "WORLD_SIZE", size)?,
    }
    Ok(Some(Launch {
        launcher: Launcher::Torchrun,
        rank,
        local_rank,
        size,
        local_size,
        master: required("MASTER_ADDR")?.trim().to_string(),
        port: port_of(&required("MASTER_PORT")?)?,
        restarts: optional("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0),
        run: lookup("TORCHELASTIC_RUN_ID").unwrap_or_default(),
        // As PyTorch reads it.
        agent_store: lookup("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"),
    }))
}

fn slurm(lookup: Lookup<'_>) -> Result<Option<Launch>> {
    // In a batch script outside of srun there is one process, whatever the allocation.
    let Some(step) = lookup("SLURM_STEP_ID") else { return Ok(None) };
    // The step's own: an interactive shell is one task of a job of several.
    let names = ["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"];
    let Some((name, size)) = names.iter().find_map(|name| Some((*name, lookup(name)?))) else {
        return match lookup("SLURM_PROCID").is_some_and(|rank| rank.trim() != "0") {
            true => Err(missing("SLURM_NTASKS", "SLURM_PROCID")),
            false => Ok(None),
        };
    };
    let (step, size): (u64, usize) = (number("SLURM_STEP_ID", &step)?, number(name, &size)?);
    if size <= 1 {
        return Ok(None);
    }
    let required = |name: &str| lookup(name).ok_or_else(|| missing(name, "SLURM_STEP_ID"));
    let rank = number("SLURM_PROCID", &required("SLURM_PROCID")?)?;
    let local_rank = number("SLURM_LOCALID", &required("SLURM_LOCALID")?)?;
    below("SLURM_PROCID", rank, name, size)?;
    below("SLURM_LOCALID", local_rank, name, size)?;
    let job: u64 = number("SLURM_JOB_ID", &required("SLURM_JOB_ID")?)?;
    let master = match lookup("MASTER_ADDR") {
        Some(given) => given.trim().to_string(),
        None => master(lookup)?,
    };
    let port = match lookup("MASTER_PORT") {
        Some(given) => port_of(&given)?,
        None => port(job, step),
    };
    let restarts = lookup("SLURM_RESTART_COUNT");
    Ok(Some(Launch {
        launcher: Launcher::Slurm,
        rank,
        local_rank,
        size,
        local_size: None,
        master,
        port,
        restarts: restarts.map_or(Ok(0), |count| number("SLURM_RESTART_COUNT", &count))?,
        run: format!("{job}.{step}"),
        agent_store: false,
    }))
}

/// The first host of the step's nodes.
fn master(lookup: Lookup<'_>) -> Result<String> {
    let names = ["SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST"];
    let Some((name, list)) = names.iter().find_map(|name| lookup(name).map(|list| (name, list)))
    else {
        return Err(missing("SLURM_STEP_NODELIST", "SLURM_STEP_ID"));
    };
    first_host(&list).ok_or_else(|| {
        Error::input(format!("{name} is \"{list}\", which is no list of nodes"))
            .help("set MASTER_ADDR to the host of task 0")
    })
}

/// A port that every process of a step knows: 20000 to 29999, below those that systems hand out by
/// themselves, and another one for the next job and step.
fn port(job: u64, step: u64) -> u16 {
    20000 + (job.wrapping_mul(31).wrapping_add(step) % 10000) as u16
}

impl Launch {
    fn alone() -> Launch {
        Launch {
            launcher: Launcher::Torchrun,
            rank: 0,
            local_rank: 0,
            size: 1,
            local_size: Some(1),
            master: String::new(),
            port: 0,
            restarts: 0,
            run: String::new(),
            agent_store: false,
        }
    }
}

#[cfg(test)]
mod tests;
