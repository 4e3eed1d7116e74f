//! Gradients of leaf tensors.

use super::ffi;
use crate::Result;
use tch::Tensor;

/// Drops the gradients (PyTorch's `zero_grad(set_to_none=True)`): the next backward pass puts its
/// own in their place, where tch's `zero_grad` would make it clear and add.
pub fn clear(parameters: &[Tensor]) -> Result<()> {
    let handles = ffi::handles(parameters);
    // SAFETY: the handles are live tensors for the length of the call.
    unsafe { ffi::check(ffi::arcrun_clear_gradients(handles.len(), handles.as_ptr())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn cleared_gradients_do_not_add_up() {
        let w = Tensor::from_slice(&[1f32, 2.0]).set_requires_grad(true);
        for _ in 0..2 {
            (&w * 3.0).sum(Kind::Float).backward();
            assert_eq!(w.grad(), Tensor::from_slice(&[3f32, 3.0]));
            clear(&[w.shallow_clone()]).unwrap();
            assert!(!w.grad().defined());
        }
    }
}
