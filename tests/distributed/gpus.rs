//! Processes on GPUs: what a machine without one is told, and NCCL on every GPU that is there.

use super::{LIMIT, close, numbers, possible, ranks, said, started};
use arcrun::backbone::batch_norm::BatchNorm;
use arcrun::distributed::{Group, Launch, Launcher, Reducer, Reduction, WholeBatch, enter, leave};
use arcrun::torch::device::load_cuda;
use std::process::Command;
use std::sync::Arc;
use tch::nn::{self, ModuleT};
use tch::{Cuda, Device, Kind, Tensor};

fn gpus() -> usize {
    load_cuda().map_or(0, |()| Cuda::device_count() as usize)
}

/// As [`Launch::from_environment`], and of one process too.
fn launch() -> Launch {
    let number = |name: &str| std::env::var(name).unwrap().parse().unwrap();
    Launch {
        launcher: Launcher::Torchrun,
        rank: number("RANK"),
        local_rank: number("LOCAL_RANK"),
        size: number("WORLD_SIZE"),
        local_size: Some(number("LOCAL_WORLD_SIZE")),
        master: "127.0.0.1".to_string(),
        port: std::env::var("MASTER_PORT").unwrap().parse().unwrap(),
        restarts: 0,
        run: "test".to_string(),
        agent_store: false,
    }
}

/// Where there are GPUs the last of three ranks has none; all three say so of the first that lacks one.
#[test]
fn a_rank_without_a_gpu_is_refused_by_all() {
    let gpus = gpus();
    if gpus > 2 {
        println!("skipped: a rank without a GPU (there are {gpus})");
        return;
    }
    let outputs = started(3, "gpus::refused", &[]);
    let outputs: Vec<_> = outputs.into_iter().map(|rank| rank.wait_with_output()).collect();
    for (rank, output) in outputs.into_iter().enumerate() {
        let output = output.unwrap();
        let text = said(&output);
        assert!(output.status.success() && text.contains("1 passed"), "rank {rank}: {text}");
        // In the log of the test that starts them, so that it can be seen what was said.
        text.lines().filter(|line| line.starts_with("said: ")).for_each(|line| println!("{line}"));
    }
}

#[test]
#[ignore = "one rank of a_rank_without_a_gpu_is_refused_by_all"]
fn refused() {
    let (launch, gpus) = (launch(), gpus());
    let error = Group::join(&launch, Device::Cuda(launch.local_rank), LIMIT).unwrap_err();
    let text = error.to_string();
    println!("said: {text}");
    if text.contains("this build has no NCCL") {
        assert_eq!(error.exit_code(), 2);
        return;
    }
    let expected = format!("rank {gpus} of 3 can't use NCCL on cuda:{gpus}: ");
    assert!(text.starts_with(&expected), "{text}");
    assert!(
        gpus > 0 || text.contains("no GPUs found") || text.contains("no CUDA libraries"),
        "{text}"
    );
    assert_eq!(error.exit_code(), 1);
}

/// What the program names as needed and as undefined, by binutils, which a C++ compiler comes with.
#[test]
#[cfg(target_os = "linux")]
fn the_program_names_nothing_of_cuda() {
    let program = env!("CARGO_BIN_EXE_run");
    let read = Command::new("readelf").args(["-W", "--dynamic", "--dyn-syms", program]).output();
    let Ok(output) = read else {
        println!("skipped: the program's dynamic section (no readelf)");
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("libtorch_cpu.so"), "{text}");
    let foreign = |line: &&str| {
        let needed = line.contains("(NEEDED)");
        let name = line.split_whitespace().last().unwrap_or_default();
        let undefined = line.contains(" UND ");
        needed && ["cuda", "nccl", "cudnn", "cublas"].iter().any(|part| line.contains(part))
            || undefined
                && (["ProcessGroupNCCL", "_ZN3c104cuda", "_ZN2at4cuda"].iter())
                    .any(|part| name.contains(part))
            || undefined && ["cuda", "nccl", "cuInit"].iter().any(|start| name.starts_with(start))
    };
    let found: Vec<&str> = text.lines().filter(foreign).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// One process for each GPU, one alone too. With Gloo for what is on the CPU, and without.
#[test]
fn nccl_on_every_gpu() {
    match gpus() {
        0 => println!("skipped: NCCL (no GPU)"),
        gpus => {
            ranks(gpus, "gpus::by_nccl_alone");
            if possible() {
                ranks(gpus, "gpus::by_nccl_and_gloo");
            }
        }
    }
}

/// What GPUs are asked for holds for CPUs.
#[test]
fn gloo_does_the_same_on_cpus() {
    if possible() {
        ranks(1, "gpus::by_gloo");
        ranks(3, "gpus::by_gloo");
    }
}

#[test]
#[ignore = "one rank of nccl_on_every_gpu"]
fn by_nccl_alone() {
    all_of(Device::Cuda(launch().local_rank), false);
}

#[test]
#[ignore = "one rank of nccl_on_every_gpu"]
fn by_nccl_and_gloo() {
    all_of(Device::Cuda(launch().local_rank), true);
}

#[test]
#[ignore = "one rank of gloo_does_the_same_on_cpus"]
fn by_gloo() {
    all_of(Device::Cpu, true);
}

fn all_of(device: Device, gloo: bool) {
    // Before libtorch is first asked for CUDA, as the program does it.
    assert!(device == Device::Cpu || gpus() > 0);
    let group = Arc::new(Group::join_by(&launch(), device, LIMIT, gloo).unwrap());
    collectives(&group, device);
    gradients(&group, device);
    normed(&group, device);
    reduced(&group, device);
    group.barrier().unwrap();
    group.close(true).unwrap();
}

fn collectives(group: &Group, device: Device) {
    let (rank, size) = (group.rank() as f64, group.size() as f64);
    let sum = size * (size - 1.0) / 2.0;
    for kind in [Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double, Kind::Int64] {
        for place in [device, Device::Cpu] {
            let own = Tensor::from_slice(&[rank, 10.0]).to_kind(kind).to_device(place);
            for (reduction, expected) in [
                (Reduction::Sum, [sum, 10.0 * size]),
                (Reduction::Max, [size - 1.0, 10.0]),
                (Reduction::Min, [0.0, 10.0]),
            ] {
                let mut values = own.copy();
                group.all_reduce(&mut values, reduction).unwrap();
                assert_eq!(values.device(), place);
                let values = Vec::<f64>::try_from(values.to_kind(Kind::Double)).unwrap();
                assert_eq!(values, expected, "{kind:?} {place:?} {reduction:?}");
            }
            let all = group.all_gather(&own).unwrap();
            assert_eq!((all.size(), all.device()), (vec![group.size() as i64, 2], place));
            assert_eq!(all.double_value(&[group.size() as i64 - 1, 0]), size - 1.0);
        }
    }
    // Not contiguous, and empty.
    let last = group.size() - 1;
    let mut scattered = numbers(group.rank() as i64, &[3, 4]).to_device(device).tr();
    group.broadcast(&mut scattered, last).unwrap();
    close("broadcast", &scattered.to_device(Device::Cpu), &numbers(last as i64, &[3, 4]).tr());
    let mut empty = Tensor::zeros([0, 3], (Kind::Float, device));
    group.broadcast(&mut empty, 0).unwrap();
    group.all_reduce(&mut empty, Reduction::Sum).unwrap();
    assert_eq!(group.all_gather(&empty).unwrap().size(), [group.size() as i64, 0, 3]);
    assert_eq!(group.reduce_numbers(&[rank], Reduction::Sum).unwrap(), [sum]);
    group.agree("configuration", "same").unwrap();
}

/// Rows of every rank, rank r with r + 1 of them.
fn gradients(group: &Arc<Group>, device: Device) {
    let (rank, size) = (group.rank() as i64, group.size() as i64);
    let rows = numbers(1, &[size * (size + 1) / 2, 3]);
    let (first, count) = (rank * (rank + 1) / 2, rank + 1);
    let own = rows.narrow(0, first, count).to_device(device).copy().set_requires_grad(true);
    let batch = WholeBatch::with(Some(group.clone()), &own).unwrap();
    let all = batch.gather(&own).unwrap();
    close("rows", &all.to_device(Device::Cpu), &rows);
    let weight = numbers(2, &rows.size());
    (all * weight.to_device(device)).sum(Kind::Double).backward();
    let expected = weight.narrow(0, first, count) * size as f64;
    close("gradient of rows", &own.grad().to_device(Device::Cpu), &expected);
}

/// Batch norm over all ranks against that of the whole batch on the CPU.
fn normed(group: &Arc<Group>, device: Device) {
    let (rank, size) = (group.rank() as i64, group.size() as i64);
    let maps = numbers(3, &[4 * size, 5, 4, 3]) * 3.0 + 10.0;
    let gradient = numbers(4, &maps.size());
    let through = |maps: &Tensor, gradient: &Tensor| {
        let mut store = nn::VarStore::new(maps.device());
        let layer = BatchNorm::new(&store.root(), 5);
        store.double();
        let maps = maps.copy().set_requires_grad(true);
        let out = layer.forward_t(&maps, true);
        (&out * gradient).sum(Kind::Double).backward();
        [out.detach(), maps.grad(), store.variables()["running_var"].copy()]
    };
    let [out, grad, var] = through(&maps, &gradient);
    let part = |all: &Tensor| all.narrow(0, 4 * rank, 4);
    enter(group.clone(), true);
    let own = through(&part(&maps).to_device(device), &part(&gradient).to_device(device));
    leave();
    let [own_out, own_grad, own_var] = own.map(|values| values.to_device(Device::Cpu));
    close("batch norm", &own_out, &part(&out));
    close("gradient of batch norm", &own_grad, &part(&grad));
    close("running variance", &own_var, &var);
}

/// Gradients of more than one bucket, over steps that lay the buckets out anew.
fn reduced(group: &Arc<Group>, device: Device) {
    let (rank, size) = (group.rank() as i64, group.size() as i64);
    let shapes: [&[i64]; 3] = [&[600, 300], &[300], &[300, 2]];
    let leaf = |seed: usize| {
        let values = numbers(seed as i64, shapes[seed]) * 0.1;
        values.to_device(device).set_requires_grad(true)
    };
    let loss = |input: &Tensor, [first, bias, last]: &[Tensor; 3]| {
        (input.matmul(first) + bias).tanh().matmul(last).square().sum(Kind::Double)
    };
    let parameters = [0, 1, 2].map(leaf);
    let mut reducer = Reducer::new(group, &parameters, false).unwrap();
    for step in 0..3 {
        let input = |rank: i64| numbers(100 * step + rank, &[4, 600]).to_device(device);
        let copies = [0, 1, 2].map(leaf);
        (0..size).for_each(|rank| (loss(&input(rank), &copies) / size as f64).backward());
        let own = loss(&input(rank), &parameters);
        reducer.prepare(&own).unwrap();
        own.backward();
        for (mut own, whole) in parameters.iter().map(Tensor::grad).zip(&copies) {
            let host = |values: &Tensor| values.to_device(Device::Cpu);
            close("gradient", &host(&own), &host(&whole.grad()));
            let _ = own.zero_();
        }
    }
}
