//! `native/distributed.h`, declared in Rust.

use super::Times;
use crate::torch::ffi::Tensors;
use std::ffi::{c_char, c_void};
use torch_sys::C_tensor;

#[repr(C)]
pub(super) struct GroupOptions {
    pub host: *const c_char,
    pub port: u16,
    pub serves: bool,
    pub prefix: *const c_char,
    pub rank: i32,
    pub size: i32,
    pub address: *const c_char,
    pub interface_name: *const c_char,
    pub timeout_ms: i64,
    pub gloo: bool,
}

/// Handles may be null where the header says so.
#[repr(C)]
pub(super) struct SyncBatchNormInputs {
    pub maps: *mut C_tensor,
    pub weight: *mut C_tensor,
    pub bias: *mut C_tensor,
    pub running_mean: *mut C_tensor,
    pub running_var: *mut C_tensor,
    pub momentum: f64,
    pub eps: f64,
}

#[repr(C)]
pub(super) struct ShardedSoftmaxInputs {
    pub embedding: *mut C_tensor,
    pub weight: *mut C_tensor,
    pub scale: *mut C_tensor,
    pub cosine: *mut C_tensor,
    pub centre: *mut C_tensor,
    pub inverse: *mut C_tensor,
    pub own_samples: *mut C_tensor,
    pub own_labels: *mut C_tensor,
    pub moved: *mut C_tensor,
    pub slope: *mut C_tensor,
    pub threshold: *mut C_tensor,
    pub hard_t: f64,
    pub clip: f64,
}

unsafe extern "C" {
    pub(super) fn arcrun_has_gloo() -> bool;
    pub(super) fn arcrun_group_create(
        options: GroupOptions,
        group: *mut *mut c_void,
    ) -> *mut c_char;
    pub(super) fn arcrun_group_add_nccl(
        group: *mut c_void,
        object: *const c_char,
        index: i32,
    ) -> *mut c_char;
    pub(super) fn arcrun_group_connect_gpus(group: *mut c_void) -> *mut c_char;
    pub(super) fn arcrun_group_use_gpu(group: *mut c_void) -> *mut c_char;
    pub(super) fn arcrun_group_close(group: *mut c_void, orderly: bool) -> *mut c_char;
    pub(super) fn arcrun_group_destroy(group: *mut c_void);
    pub(super) fn arcrun_store_set(
        group: *mut c_void,
        key: *const c_char,
        value: *const c_char,
        length: usize,
    ) -> *mut c_char;
    pub(super) fn arcrun_store_get(
        group: *mut c_void,
        key: *const c_char,
        timeout_ms: i64,
        value: *mut *mut c_char,
        length: *mut usize,
    ) -> *mut c_char;
    pub(super) fn arcrun_store_wait(
        group: *mut c_void,
        count: usize,
        keys: *const *const c_char,
        timeout_ms: i64,
    ) -> *mut c_char;
    pub(super) fn arcrun_broadcast(
        group: *mut c_void,
        tensor: *mut C_tensor,
        root: i64,
    ) -> *mut c_char;
    pub(super) fn arcrun_all_reduce(
        group: *mut c_void,
        tensor: *mut C_tensor,
        operation: i32,
    ) -> *mut c_char;
    pub(super) fn arcrun_all_gather(
        group: *mut c_void,
        tensor: *mut C_tensor,
        out: *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn arcrun_barrier(group: *mut c_void, timeout_ms: i64) -> *mut c_char;
    pub(super) fn arcrun_group_sent(group: *mut c_void) -> u64;
    pub(super) fn arcrun_reducer_create(
        group: *mut c_void,
        count: usize,
        params: Tensors,
        find_unused: bool,
        reducer: *mut *mut c_void,
    ) -> *mut c_char;
    pub(super) fn arcrun_reducer_destroy(reducer: *mut c_void);
    pub(super) fn arcrun_reducer_prepare(reducer: *mut c_void, loss: *mut C_tensor) -> *mut c_char;
    pub(super) fn arcrun_reducer_times(reducer: *mut c_void, times: *mut Times) -> *mut c_char;
    pub(super) fn arcrun_gather_rows(
        group: *mut c_void,
        rows: *mut C_tensor,
        counts: *const i64,
        out: *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn arcrun_sum_over_ranks(
        group: *mut c_void,
        tensor: *mut C_tensor,
        out: *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn arcrun_sync_batch_norm(
        group: *mut c_void,
        inputs: SyncBatchNormInputs,
        out: *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn arcrun_sharded_softmax(
        group: *mut c_void,
        inputs: ShardedSoftmaxInputs,
        loss: *mut C_tensor,
    ) -> *mut c_char;
}
