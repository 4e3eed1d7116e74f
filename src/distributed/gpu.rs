//! A GPU for each process of a machine, and the shared object that connects them.

use super::env::{Launch, Launcher};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use tch::Device;

/// The shared object with everything that has a CUDA symbol.
const OBJECT: &str = "libarcrun_nccl.so";

/// Where the build put it; empty where it made none.
const BUILT: &str = env!("ARCRUN_NCCL");

/// The device of one of several processes, where `train.device` says `request` and `chosen` is what that
/// means to one process alone: of `gpus` GPUs that this process sees, the one of its local rank.
///
/// Under Slurm a process that sees one GPU takes it: `srun --gpus-per-task 1` gives each task its own.
/// That two processes don't mean the same GPU is checked when they meet.
///
/// # Errors
/// Fewer GPUs than processes on this machine, or one GPU that was named for several processes.
pub fn device_of_rank(
    request: &str,
    chosen: Device,
    launch: &Launch,
    gpus: usize,
) -> Result<Device> {
    let Device::Cuda(index) = chosen else { return Ok(chosen) };
    // What is known for certain, where the launcher does not say.
    let here = launch.local_size.unwrap_or(launch.local_rank + 1);
    let named = !matches!(request, "auto" | "cuda");
    if named {
        if here > 1 {
            let message = format!("train.device = \"{request}\" is one GPU for {here} processes");
            return Err(Error::input(message).help(
                "write \"cuda\": each process then takes the GPU of its local rank; \
                 CUDA_VISIBLE_DEVICES chooses among them",
            ));
        }
        return Ok(Device::Cuda(index));
    }
    if here <= gpus {
        return Ok(Device::Cuda(launch.local_rank));
    }
    if launch.launcher == Launcher::Slurm && gpus == 1 {
        return Ok(Device::Cuda(0));
    }
    Err(too_few(here, gpus))
}

/// Before processes are started here: whether each will have a GPU.
///
/// # Errors
/// As [`device_of_rank`].
pub fn check_local(request: &str, chosen: Device, count: usize, gpus: usize) -> Result<()> {
    let first = Launch {
        launcher: Launcher::Torchrun,
        rank: 0,
        local_rank: 0,
        size: count,
        local_size: Some(count),
        master: String::new(),
        port: 0,
        restarts: 0,
        run: String::new(),
        agent_store: false,
    };
    device_of_rank(request, chosen, &first, gpus).map(drop)
}

fn too_few(processes: usize, gpus: usize) -> Error {
    let are = if gpus == 1 { "is" } else { "are" };
    let plural = if gpus == 1 { "" } else { "s" };
    let message = format!(
        "{processes} processes on this machine, but there {are} {gpus} GPU{plural}: each needs its own"
    );
    Error::input(message).help(format!(
        "start at most {gpus} on this machine, or train on the CPU with --device cpu"
    ))
}

/// The shared object: beside the program, else where the build left it.
///
/// # Errors
/// It is at neither place: how to make it.
pub fn nccl_object(launch: &Launch, device: Device) -> Result<PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    let beside = program.parent().unwrap_or(Path::new("")).join(OBJECT);
    let built = PathBuf::from(BUILT);
    let found = [&beside, &built].into_iter().find(|path| path.is_file());
    found.cloned().ok_or_else(|| missing(launch.size, device, &beside))
}

fn missing(size: usize, device: Device, beside: &Path) -> Error {
    let message = format!("{size} processes on {}: this build has no NCCL", name(device));
    Error::input(message).help(format!(
        "there is no {}: `ARCRUN_LIBTORCH=cu130 ./run.sh build` makes it, for this program too if it is \
         copied there; or add --device cpu, or start one process for its GPU",
        beside.display()
    ))
}

/// What NCCL or libtorch said, on this rank or another.
pub(super) fn failed(rank: usize, size: usize, device: Device, reason: &str) -> Error {
    let message = format!("rank {rank} of {size} can't use NCCL on {}: {reason}", name(device));
    Error::failed(message).help(
        "look with nvidia-smi whether that machine has a GPU for each of its processes and a driver for \
         CUDA 13, and whether this program has the CUDA libtorch (ARCRUN_LIBTORCH=cu130 ./run.sh build); \
         NCCL_DEBUG=INFO says more; --device cpu trains without GPUs",
    )
}

fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        other => format!("{other:?}"),
    }
}

/// Ranks on the same GPU, by what tells the GPUs of all ranks apart.
pub(super) fn check_apart(uuids: &[String]) -> Result<()> {
    for (second, uuid) in uuids.iter().enumerate() {
        if let Some(first) = uuids[..second].iter().position(|other| other == uuid) {
            let message = format!(
                "ranks {first} and {second} are on the same GPU ({uuid}): NCCL needs one for each process"
            );
            return Err(Error::input(message).help(
                "start as many processes on a machine as it has GPUs, with train.device = \"cuda\"; under \
                 Slurm give each task its own, as with srun --gpus-per-task 1",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(launcher: Launcher, local_rank: usize, local_size: Option<usize>) -> Launch {
        Launch {
            launcher,
            rank: local_rank,
            local_rank,
            size: 8,
            local_size,
            master: "node1".to_string(),
            port: 29500,
            restarts: 0,
            run: String::new(),
            agent_store: false,
        }
    }

    #[test]
    fn a_rank_takes_the_gpu_of_its_place_on_the_machine() {
        for request in ["auto", "cuda"] {
            let of =
                |launch, gpus| device_of_rank(request, Device::Cuda(0), &launch, gpus).unwrap();
            for local in 0..4 {
                let torchrun = launch(Launcher::Torchrun, local, Some(4));
                assert_eq!(of(torchrun, 4), Device::Cuda(local));
                assert_eq!(of(launch(Launcher::Slurm, local, None), 4), Device::Cuda(local));
                // Each task of Slurm sees its own GPU alone.
                assert_eq!(of(launch(Launcher::Slurm, local, None), 1), Device::Cuda(0));
            }
        }
        let cpu = device_of_rank("cpu", Device::Cpu, &launch(Launcher::Torchrun, 3, Some(4)), 0);
        assert_eq!(cpu.unwrap(), Device::Cpu);
    }

    #[test]
    fn a_gpu_may_be_named_for_one_process_of_a_machine() {
        let alone = launch(Launcher::Torchrun, 0, Some(1));
        let device = device_of_rank("cuda:1", Device::Cuda(1), &alone, 2).unwrap();
        assert_eq!(device, Device::Cuda(1));
        for several in [launch(Launcher::Torchrun, 0, Some(2)), launch(Launcher::Slurm, 1, None)] {
            let error = device_of_rank("cuda:1", Device::Cuda(1), &several, 2).unwrap_err();
            assert!(error.to_string().contains("\"cuda:1\" is one GPU for 2 processes"), "{error}");
        }
    }

    #[test]
    fn too_few_gpus_name_both_numbers_on_every_rank() {
        for local in 0..4 {
            let rank = launch(Launcher::Torchrun, local, Some(4));
            let error = device_of_rank("auto", Device::Cuda(0), &rank, 3).unwrap_err();
            assert!(error.to_string().contains("4 processes"), "{error}");
            assert!(error.to_string().contains("there are 3 GPUs"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        let error = check_local("cuda", Device::Cuda(0), 2, 1).unwrap_err().to_string();
        assert!(error.contains("2 processes") && error.contains("there is 1 GPU:"), "{error}");
        assert!(check_local("cuda", Device::Cuda(0), 2, 2).is_ok());
        assert!(check_local("cpu", Device::Cpu, 2, 0).is_ok());
        let third = launch(Launcher::Slurm, 2, None);
        let error = device_of_rank("cuda", Device::Cuda(0), &third, 2).unwrap_err().to_string();
        assert!(error.contains("3 processes") && error.contains("2 GPUs"), "{error}");
    }

    #[test]
    fn two_ranks_on_one_gpu_are_named() {
        let uuids = |list: [&str; 4]| list.map(String::from);
        assert!(check_apart(&uuids(["a", "b", "c", "d"])).is_ok());
        let error = check_apart(&uuids(["a", "b", "c", "b"])).unwrap_err().to_string();
        assert!(error.contains("ranks 1 and 3"), "{error}");
    }

    #[test]
    fn a_missing_object_is_named_with_what_makes_it() {
        let Error::Input { message, help } =
            missing(4, Device::Cuda(0), Path::new("/opt/libarcrun_nccl.so"))
        else {
            panic!("no error of the input");
        };
        assert!(
            message.contains("4 processes on cuda:0") && message.contains("no NCCL"),
            "{message}"
        );
        let help = help.unwrap();
        for part in ["/opt/libarcrun_nccl.so", "./run.sh build", "--device cpu"] {
            assert!(help.contains(part), "{help}");
        }
    }
}
