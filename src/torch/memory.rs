//! How the process treats freed memory on the CPU, and what tensors took on a GPU.

use super::ffi;
use crate::error::{Error, Result};

/// Keeps freed memory for the next step, where glibc's malloc would return large blocks to the
/// system and get them back page by page: a training step asks for the same buffers every time.
///
/// For a program's start, before threads. What it costs is memory between the peaks, and a peak some
/// 15 % higher (docs/measurements.md).
pub fn keep() {
    // SAFETY: it takes nothing and only sets options of malloc.
    unsafe { ffi::arcrun_keep_memory() }
}

/// What libtorch's allocators say when the system or the GPU has no more.
const WORDS: [&str; 3] = ["can't allocate memory", "out of memory", "std::bad_alloc"];

/// The error of memory that libtorch did not get, where its message `text` tells of that.
pub fn exhausted(text: &str) -> Option<Error> {
    let said = text.lines().find(|line| WORDS.iter().any(|word| line.contains(word)))?;
    let said = said.split_once("Torch(\"").map_or(said, |(_, inner)| inner);
    let said = said.split("\\n").next().unwrap_or(said).trim_end_matches("\")");
    Some(Error::failed(format!("the memory does not suffice: {said}")).help(
        "lower train.batch_size (train.accumulate keeps the batch of a step), or set \
         finetune.gradient_checkpointing or train.amp",
    ))
}

/// Keeps the words and the backtrace of a panic from the terminal where the main thread lacks memory:
/// [`exhausted`] makes an error of it.
pub fn hush() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let main = std::thread::current().name() == Some("main");
        if !(main && exhausted(&panic.to_string()).is_some()) {
            before(panic);
        }
    }));
}

/// The most bytes that tensors held on GPU `index` at one time, as `torch.cuda.max_memory_allocated` counts.
///
/// # Errors
/// No CUDA here.
pub fn cuda_peak(index: usize) -> Result<u64> {
    super::device::load_cuda()?;
    let mut bytes = 0;
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    unsafe { ffi::check(ffi::arcrun_cuda_peak(index, &mut bytes))? };
    Ok(bytes.max(0) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::device::load_cuda;
    use super::*;

    #[test]
    fn memory_that_libtorch_lacks_is_an_error_with_a_remedy() {
        let options = (tch::Kind::Float, tch::Device::Cpu);
        // More than processors address.
        let huge = [1 << 45];
        let refused = tch::Tensor::f_zeros(huge, options).unwrap_err().to_string();
        let error = exhausted(&refused).unwrap().to_string();
        assert!(error.starts_with("the memory does not suffice: "), "{error}");
        assert!(error.contains("allocate") && error.lines().count() == 1, "{error}");

        let caught = crate::distributed::caught(|| Ok(tch::Tensor::zeros(huge, options)));
        let error = caught.unwrap_err().to_string();
        assert!(error.starts_with("the memory does not suffice: ["), "{error}");
        assert!(!error.contains("\\n") && !error.contains("Torch("), "{error}");
        assert!(exhausted("mat1 and mat2 shapes cannot be multiplied").is_none());
    }

    #[test]
    fn without_a_gpu_there_is_no_peak() {
        assert_eq!(cuda_peak(0).is_ok(), load_cuda().is_ok());
    }
}
