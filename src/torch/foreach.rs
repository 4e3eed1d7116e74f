//! Steps of the optimizers that libtorch has no fused kernel for (all but Adagrad's on the CPU):
//! a few operations over whole lists of tensors, in one call.
//!
//! Lists and their layout as in [`fused`](super::fused): parameters share device and type and are
//! dense, state lies in memory as its parameter does, a gradient in another layout is copied. The
//! order of operations is that of the references named at each.

use super::ffi;
use crate::error::Result;
use tch::Tensor;

/// `torch.optim.RMSprop`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    pub lr: f64,
    pub alpha: f64,
    /// Added to the root.
    pub eps: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    pub momentum: f64,
    pub centered: bool,
}

/// One step in place. `grad_avgs` is empty without `centered`, `momentum_buffers` where `momentum`
/// is 0.
pub fn rmsprop(
    params: &mut [Tensor],
    grads: &[Tensor],
    square_avgs: &mut [Tensor],
    grad_avgs: &mut [Tensor],
    momentum_buffers: &mut [Tensor],
    options: RmsProp,
) -> Result<()> {
    same_length(params, &[grads, square_avgs]);
    unsafe {
        ffi::check(ffi::arcrun_rmsprop_step(
            params.len(),
            ffi::handles(params).as_ptr(),
            ffi::handles(grads).as_ptr(),
            ffi::handles(square_avgs).as_ptr(),
            grad_avgs.len(),
            ffi::handles(grad_avgs).as_ptr(),
            momentum_buffers.len(),
            ffi::handles(momentum_buffers).as_ptr(),
            options,
        ))
    }
}

/// `torch.optim.Adagrad`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    pub lr: f64,
    /// The rate of step t, from 1, is lr / (1 + (t - 1) x this).
    pub lr_decay: f64,
    /// Added to the root.
    pub eps: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
}

/// One step in place. `step` counts from 1.
pub fn adagrad(
    params: &mut [Tensor],
    grads: &[Tensor],
    sums: &mut [Tensor],
    step: i64,
    options: Adagrad,
) -> Result<()> {
    same_length(params, &[grads, sums]);
    assert!(step >= 1, "steps count from 1");
    unsafe {
        ffi::check(ffi::arcrun_adagrad_step(
            params.len(),
            ffi::handles(params).as_ptr(),
            ffi::handles(grads).as_ptr(),
            ffi::handles(sums).as_ptr(),
            step,
            options,
        ))
    }
}

/// timm's `Lion`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    /// Decoupled: the parameter shrinks first, by lr x this.
    pub weight_decay: f64,
}

/// One step in place.
pub fn lion(
    params: &mut [Tensor],
    grads: &[Tensor],
    exp_avgs: &mut [Tensor],
    options: Lion,
) -> Result<()> {
    same_length(params, &[grads, exp_avgs]);
    unsafe {
        ffi::check(ffi::arcrun_lion_step(
            params.len(),
            ffi::handles(params).as_ptr(),
            ffi::handles(grads).as_ptr(),
            ffi::handles(exp_avgs).as_ptr(),
            options,
        ))
    }
}

/// timm's `Lars`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lars {
    pub lr: f64,
    pub momentum: f64,
    /// L2 penalty, added to the gradient before the trust ratio multiplies both.
    pub weight_decay: f64,
    pub trust_coefficient: f64,
    /// Added to the denominator of the trust ratio.
    pub eps: f64,
    pub nesterov: bool,
    /// LARC: ratio / lr is at most 1.
    pub trust_clip: bool,
    /// The trust ratio also where `weight_decay` is 0.
    pub always_adapt: bool,
}

/// One step in place. `momentum_buffers` is empty where `momentum` is 0; on `first_step` the
/// buffers are set, whatever they held.
pub fn lars(
    params: &mut [Tensor],
    grads: &[Tensor],
    momentum_buffers: &mut [Tensor],
    first_step: bool,
    options: Lars,
) -> Result<()> {
    same_length(params, &[grads]);
    unsafe {
        ffi::check(ffi::arcrun_lars_step(
            params.len(),
            ffi::handles(params).as_ptr(),
            ffi::handles(grads).as_ptr(),
            momentum_buffers.len(),
            ffi::handles(momentum_buffers).as_ptr(),
            first_step,
            options,
        ))
    }
}

/// timm's `Lamb`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lamb {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    /// Added to the root of the bias-corrected second moment.
    pub eps: f64,
    /// Added to Adam's update, times the parameter, before the trust ratio multiplies both.
    pub weight_decay: f64,
    /// What the gradients are divided by first.
    pub grad_divisor: f64,
    /// The trust ratio is at most 1.
    pub trust_clip: bool,
    /// The trust ratio also where `weight_decay` is 0.
    pub always_adapt: bool,
}

/// One step in place. `step` counts from 1.
pub fn lamb(
    params: &mut [Tensor],
    grads: &[Tensor],
    exp_avgs: &mut [Tensor],
    exp_avg_sqs: &mut [Tensor],
    step: i64,
    options: Lamb,
) -> Result<()> {
    same_length(params, &[grads, exp_avgs, exp_avg_sqs]);
    assert!(step >= 1, "steps count from 1");
    unsafe {
        ffi::check(ffi::arcrun_lamb_step(
            params.len(),
            ffi::handles(params).as_ptr(),
            ffi::handles(grads).as_ptr(),
            ffi::handles(exp_avgs).as_ptr(),
            ffi::handles(exp_avg_sqs).as_ptr(),
            step,
            options,
        ))
    }
}

/// The shim takes one count for all of these lists.
fn same_length(params: &[Tensor], others: &[&[Tensor]]) {
    let same = others.iter().all(|list| list.len() == params.len());
    assert!(same, "one tensor per parameter in each list");
}
