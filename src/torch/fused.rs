//! Optimizer steps over whole lists of tensors in one call, by PyTorch's fused kernels.
//!
//! All parameters of a call share device and type, and are dense. A state tensor has its
//! parameter's shape, type and memory layout: make it with `zeros_like`, and restore a saved one
//! by `copy_` into that, which keeps the layout. Everything else is an error, not wrong numbers.
//! The order of operations is that of `torch.optim`.

use super::ffi;
use crate::error::Result;
use tch::Tensor;

/// Sutskever et al., "On the importance of initialization and momentum in deep learning",
/// ICML 2013, as `torch.optim.SGD` writes it (the learning rate multiplies the whole update).
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    pub lr: f64,
    pub momentum: f64,
    pub dampening: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    pub nesterov: bool,
    pub maximize: bool,
}

/// One SGD step in place.
///
/// `momentum_buffers` is empty where `momentum` is 0; on `first_step` the buffers are set to the
/// gradient, without dampening, whatever they held.
pub fn sgd(
    params: &mut [Tensor],
    grads: &[Tensor],
    momentum_buffers: &mut [Tensor],
    first_step: bool,
    options: &Sgd,
) -> Result<()> {
    assert_eq!(params.len(), grads.len(), "one gradient per parameter");
    let &Sgd { lr, momentum, dampening, weight_decay, nesterov, maximize } = options;
    unsafe {
        ffi::check(ffi::arcrun_fused_sgd(
            params.len(),
            ffi::handles(params).as_ptr(),
            ffi::handles(grads).as_ptr(),
            momentum_buffers.len(),
            ffi::handles(momentum_buffers).as_ptr(),
            first_step,
            ffi::SgdOptions { lr, momentum, dampening, weight_decay, nesterov, maximize },
        ))
    }
}

/// Kingma and Ba, "Adam", ICLR 2015; with `amsgrad`, Reddi et al., ICLR 2018.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    /// Added to the root of the bias-corrected second moment.
    pub eps: f64,
    pub weight_decay: f64,
    pub amsgrad: bool,
    pub maximize: bool,
}

/// Moments of [`adam`] and [`adamw`], one tensor per parameter.
pub struct Moments<'a> {
    pub exp_avgs: &'a mut [Tensor],
    pub exp_avg_sqs: &'a mut [Tensor],
    /// Empty without `amsgrad`.
    pub max_exp_avg_sqs: &'a mut [Tensor],
}

/// One Adam step in place; weight decay is added to the gradient. `step` counts from 1.
pub fn adam(
    params: &mut [Tensor],
    grads: &[Tensor],
    moments: Moments<'_>,
    step: i64,
    options: &Adam,
) -> Result<()> {
    adam_step(params, grads, moments, step, options, false)
}

/// One AdamW step in place; weight decay shrinks the parameter first (Loshchilov and Hutter,
/// "Decoupled weight decay regularization", ICLR 2019). `step` counts from 1.
pub fn adamw(
    params: &mut [Tensor],
    grads: &[Tensor],
    moments: Moments<'_>,
    step: i64,
    options: &Adam,
) -> Result<()> {
    adam_step(params, grads, moments, step, options, true)
}

fn adam_step(
    params: &mut [Tensor],
    grads: &[Tensor],
    moments: Moments<'_>,
    step: i64,
    options: &Adam,
    decoupled_weight_decay: bool,
) -> Result<()> {
    let count = params.len();
    let Moments { exp_avgs, exp_avg_sqs, max_exp_avg_sqs } = moments;
    assert_eq!(count, grads.len(), "one gradient per parameter");
    assert_eq!((count, count), (exp_avgs.len(), exp_avg_sqs.len()), "moments per parameter");
    assert!(step >= 1, "steps count from 1");
    let &Adam { lr, beta1, beta2, eps, weight_decay, amsgrad, maximize } = options;
    unsafe {
        ffi::check(ffi::arcrun_fused_adam(
            count,
            ffi::handles(params).as_ptr(),
            ffi::handles(grads).as_ptr(),
            ffi::handles(exp_avgs).as_ptr(),
            ffi::handles(exp_avg_sqs).as_ptr(),
            max_exp_avg_sqs.len(),
            ffi::handles(max_exp_avg_sqs).as_ptr(),
            step,
            ffi::AdamOptions {
                lr,
                beta1,
                beta2,
                eps,
                weight_decay,
                amsgrad,
                maximize,
                decoupled_weight_decay,
            },
        ))
    }
}

/// Euclidean norm over all elements of all gradients: a 0-dimensional tensor on their device
/// (reading it waits for the device) of their type, float32 for half precision; 0 of none.
pub fn grad_norm(grads: &[Tensor]) -> Result<Tensor> {
    let norm = Tensor::new();
    unsafe {
        let out = norm.as_ptr().cast_mut();
        ffi::check(ffi::arcrun_global_norm(grads.len(), ffi::handles(grads).as_ptr(), out))?;
    }
    Ok(norm)
}

#[cfg(test)]
mod tests;
