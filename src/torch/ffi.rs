//! `native/arcrun_native.h`, declared in Rust.

use super::foreach;
use crate::error::Error;
use std::ffi::{CStr, c_char, c_void};
use tch::Tensor;
use torch_sys::C_tensor;

pub(super) type Tensors = *const *mut C_tensor;

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct AutocastState {
    pub enabled: bool,
    pub dtype: i32,
}

#[repr(C)]
pub(super) struct SgdOptions {
    pub lr: f64,
    pub momentum: f64,
    pub dampening: f64,
    pub weight_decay: f64,
    pub nesterov: bool,
    pub maximize: bool,
}

#[repr(C)]
pub(super) struct AdamOptions {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    pub amsgrad: bool,
    pub maximize: bool,
    pub decoupled_weight_decay: bool,
}

/// Handles may be null where the header says so.
#[repr(C)]
pub(super) struct MarginSoftmaxInputs {
    pub embedding: *mut C_tensor,
    pub weight: *mut C_tensor,
    pub scale: *mut C_tensor,
    pub cosine: *mut C_tensor,
    pub centre: *mut C_tensor,
    pub inverse: *mut C_tensor,
    pub labels: *mut C_tensor,
    pub moved: *mut C_tensor,
    pub slope: *mut C_tensor,
    pub threshold: *mut C_tensor,
    pub hard_t: f64,
    pub clip: f64,
}

#[repr(C)]
pub(super) struct Segment {
    pub context: *mut c_void,
    pub run: unsafe extern "C" fn(
        context: *mut c_void,
        input: *mut C_tensor,
        again: bool,
        message: *mut c_char,
        capacity: usize,
    ) -> *mut C_tensor,
    pub release: unsafe extern "C" fn(context: *mut c_void),
}

unsafe extern "C" {
    fn arcrun_free(message: *mut c_char);
    pub(super) fn arcrun_keep_memory();
    pub(super) fn arcrun_unblock_signals();
    pub(super) fn arcrun_autocast_enter(
        device: i32,
        wanted: AutocastState,
        previous: *mut AutocastState,
    ) -> *mut c_char;
    pub(super) fn arcrun_autocast_exit(device: i32, previous: AutocastState) -> *mut c_char;
    pub(super) fn arcrun_nonfinite_begin(count: usize, parameters: Tensors) -> *mut c_char;
    pub(super) fn arcrun_nonfinite_end(
        parameter: *mut i64,
        operation: *mut c_char,
        capacity: usize,
    ) -> *mut c_char;
    pub(super) fn arcrun_average(
        count: usize,
        averages: Tensors,
        values: Tensors,
        weight: f64,
    ) -> *mut c_char;
    pub(super) fn arcrun_fused_sgd(
        count: usize,
        params: Tensors,
        grads: Tensors,
        buffer_count: usize,
        momentum_buffers: Tensors,
        first_step: bool,
        options: SgdOptions,
    ) -> *mut c_char;
    pub(super) fn arcrun_fused_adam(
        count: usize,
        params: Tensors,
        grads: Tensors,
        exp_avgs: Tensors,
        exp_avg_sqs: Tensors,
        max_count: usize,
        max_exp_avg_sqs: Tensors,
        step: i64,
        options: AdamOptions,
    ) -> *mut c_char;
    pub(super) fn arcrun_rmsprop_step(
        count: usize,
        params: Tensors,
        grads: Tensors,
        square_avgs: Tensors,
        grad_avg_count: usize,
        grad_avgs: Tensors,
        buffer_count: usize,
        momentum_buffers: Tensors,
        options: foreach::RmsProp,
    ) -> *mut c_char;
    pub(super) fn arcrun_adagrad_step(
        count: usize,
        params: Tensors,
        grads: Tensors,
        sums: Tensors,
        step: i64,
        options: foreach::Adagrad,
    ) -> *mut c_char;
    pub(super) fn arcrun_lion_step(
        count: usize,
        params: Tensors,
        grads: Tensors,
        exp_avgs: Tensors,
        options: foreach::Lion,
    ) -> *mut c_char;
    pub(super) fn arcrun_lars_step(
        count: usize,
        params: Tensors,
        grads: Tensors,
        buffer_count: usize,
        momentum_buffers: Tensors,
        first_step: bool,
        options: foreach::Lars,
    ) -> *mut c_char;
    pub(super) fn arcrun_lamb_step(
        count: usize,
        params: Tensors,
        grads: Tensors,
        exp_avgs: Tensors,
        exp_avg_sqs: Tensors,
        step: i64,
        options: foreach::Lamb,
    ) -> *mut c_char;
    pub(super) fn arcrun_torch_version() -> *const c_char;
    pub(super) fn arcrun_channels_last(images: *mut C_tensor, out: *mut C_tensor) -> *mut c_char;
    pub(super) fn arcrun_clear_gradients(count: usize, tensors: Tensors) -> *mut c_char;
    pub(super) fn arcrun_global_norm(
        count: usize,
        tensors: Tensors,
        norm: *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn arcrun_unscale(
        count: usize,
        tensors: Tensors,
        inverse_scale: f64,
        non_finite: *mut bool,
    ) -> *mut c_char;
    pub(super) fn arcrun_cosines(
        embedding: *mut C_tensor,
        weight: *mut C_tensor,
        centres: i64,
        normalize_weight: bool,
        cosine: *mut C_tensor,
        centre: *mut C_tensor,
        inverse: *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn arcrun_margin_softmax(
        inputs: MarginSoftmaxInputs,
        loss: *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn arcrun_checkpointed(
        input: *mut C_tensor,
        segment: Segment,
        output: *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn arcrun_set_deterministic(on: bool) -> *mut c_char;
    pub(super) fn arcrun_set_cudnn_benchmark(on: bool) -> *mut c_char;
    pub(super) fn arcrun_cudnn_benchmark() -> bool;
    pub(super) fn arcrun_set_tf32(on: bool) -> *mut c_char;
    pub(super) fn arcrun_tf32(matmul: *mut bool, convolution: *mut bool) -> *mut c_char;
    pub(super) fn arcrun_load_cuda() -> *mut c_char;
    pub(super) fn arcrun_cuda_peak(index: i32, bytes: *mut i64) -> *mut c_char;
    pub(super) fn arcrun_cuda_uuid(index: i32, bytes: *mut u8) -> *mut c_char;
    pub(super) fn arcrun_cuda_device(
        index: i32,
        name: *mut c_char,
        capacity: usize,
        major: *mut i32,
        minor: *mut i32,
    ) -> *mut c_char;
}

/// Turns the message that a shim function returned, if any, into an error.
///
/// # Safety
/// `message` is what a function of the shim just returned.
pub(super) unsafe fn check(message: *mut c_char) -> Result<(), Error> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a message of the shim is a NUL-terminated string that is ours to release.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().trim_end().to_owned();
    unsafe { arcrun_free(message) };
    Err(Error::failed(text))
}

/// Releases what the shim allocated.
///
/// # Safety
/// `memory` came from the shim and was not released yet.
pub(super) unsafe fn free(memory: *mut c_char) {
    unsafe { arcrun_free(memory) };
}

/// The handles of `tensors`. They stay owned by `tensors`, which must outlive the call they are
/// for; the shim writes only through those that its caller borrowed mutably.
pub(super) fn handles(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(|t| t.as_ptr().cast_mut()).collect()
}
