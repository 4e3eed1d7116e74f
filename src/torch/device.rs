//! Choosing the device. One binary serves both: CUDA is opened at run time where libtorch has it
//! and a driver is there.

use super::{ffi, threads};
use crate::error::{Error, Result};
use std::sync::OnceLock;
use tch::{Cuda, Device};

/// Name and compute capability of a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct CudaProperties {
    pub name: String,
    /// (major, minor)
    pub compute_capability: (i32, i32),
}

/// Opens libtorch's CUDA part, once; later calls repeat the first one's answer.
///
/// Call it, or [`select`], before anything else of libtorch: it looks for CUDA at the first
/// question that involves it and remembers the answer.
///
/// # Errors
/// Why there is no CUDA here.
pub fn load_cuda() -> Result<()> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        unsafe { ffi::check(ffi::arcrun_load_cuda()) }.map_err(|e| e.to_string())?;
        match Cuda::is_available() {
            true => Ok(()),
            false => Err("libtorch's CUDA part sees no usable device".into()),
        }
    });
    loaded.clone().map_err(Error::input)
}

/// The device that `request` names: `auto` (the first GPU, else the CPU), `cpu`, `cuda` (the
/// first GPU), `cuda:N`, `mps` (only on request: it has neither float64 nor mixed precision).
///
/// # Errors
/// An unknown name, or a device that is not there: names what is.
pub fn select(request: &str) -> Result<Device> {
    match request {
        "cpu" => Ok(Device::Cpu),
        "auto" if load_cuda().is_ok() => Ok(Device::Cuda(0)),
        "auto" => Ok(Device::Cpu),
        "cuda" => cuda(0),
        "mps" if tch::utils::has_mps() => Ok(Device::Mps),
        "mps" => Err(not_here("mps", "this libtorch has no Metal support")),
        _ => match request.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(index)) => cuda(index),
            _ => Err(Error::input(format!("unknown device \"{request}\""))
                .help("--device takes auto, cpu, cuda, cuda:N or mps")),
        },
    }
}

fn cuda(index: usize) -> Result<Device> {
    let request = format!("cuda:{index}");
    load_cuda().map_err(|reason| not_here(&request, &reason.to_string()))?;
    let count = Cuda::device_count();
    if index as i64 >= count {
        return Err(not_here(&request, &format!("there are {count} GPUs, counted from 0")));
    }
    Ok(Device::Cuda(index))
}

fn not_here(request: &str, reason: &str) -> Error {
    let mut here = vec!["cpu".to_owned()];
    if load_cuda().is_ok() {
        here.extend((0..Cuda::device_count()).map(|i| format!("cuda:{i}")));
    }
    if tch::utils::has_mps() {
        here.push("mps".into());
    }
    Error::input(format!("device {request} is not available: {reason}"))
        .help(format!("available here: {}", here.join(", ")))
}

/// For people: `CPU, 2 threads`, `cuda:0 NVIDIA H200`.
pub fn describe(device: Device) -> String {
    match device {
        Device::Cpu => match threads::get() {
            1 => "CPU, 1 thread".into(),
            n => format!("CPU, {n} threads"),
        },
        Device::Cuda(index) => match cuda_properties(index) {
            Ok(gpu) => format!("cuda:{index} {}", gpu.name),
            Err(_) => format!("cuda:{index}"),
        },
        Device::Mps => "mps (Metal)".into(),
        Device::Vulkan => "vulkan".into(),
    }
}

/// What the driver says about GPU `index`.
pub fn cuda_properties(index: usize) -> Result<CudaProperties> {
    let mut name = [0u8; 256];
    let (mut major, mut minor) = (0, 0);
    unsafe {
        ffi::check(ffi::arcrun_cuda_device(
            i32::try_from(index).unwrap_or(i32::MAX),
            name.as_mut_ptr().cast(),
            name.len(),
            &mut major,
            &mut minor,
        ))?
    };
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    let name = String::from_utf8_lossy(&name[..end]).into_owned();
    Ok(CudaProperties { name, compute_capability: (major, minor) })
}

/// GPUs that this process sees, where `device` is one of them; else 0, and CUDA stays closed.
pub fn gpus_beside(device: Device) -> usize {
    match device {
        Device::Cuda(_) if load_cuda().is_ok() => {
            usize::try_from(Cuda::device_count()).unwrap_or(0)
        }
        _ => 0,
    }
}

/// What tells GPU `index` from all others, here and on other machines.
pub fn cuda_uuid(index: usize) -> Result<String> {
    let mut bytes = [0u8; 16];
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    // SAFETY: the shim writes 16 bytes.
    unsafe { ffi::check(ffi::arcrun_cuda_uuid(index, bytes.as_mut_ptr()))? };
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_the_first_gpu_or_the_cpu() {
        let expected = if load_cuda().is_ok() { Device::Cuda(0) } else { Device::Cpu };
        assert_eq!(select("auto").unwrap(), expected);
        assert_eq!(select("cpu").unwrap(), Device::Cpu);
    }

    #[test]
    fn an_absent_or_unknown_device_is_named_with_what_is_there() {
        for request in ["cuda:99", "gpu", "cuda:x", "cuda:-1", ""] {
            let Err(Error::Input { message, help }) = select(request) else {
                panic!("{request} was accepted");
            };
            assert!(message.contains(request), "{message}");
            assert!(help.unwrap().contains("cpu"));
        }
    }

    #[test]
    fn descriptions_name_the_device() {
        assert!(describe(Device::Cpu).starts_with("CPU, "));
        if let Ok(gpu @ Device::Cuda(_)) = select("cuda") {
            let gpu = describe(gpu);
            assert!(gpu.len() > "cuda:0 ".len(), "{gpu}");
        }
    }
}
