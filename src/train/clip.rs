//! Gradient clipping: `train.clip_grad_norm` and `train.clip_grad_value`.

use tch::Tensor;

/// Limits of the gradients; 0 is none.
///
/// With both, the norm goes first: no element is larger afterwards than its limit, and since that
/// only shortens the gradient, its norm keeps to its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clip {
    /// Largest L2 norm of all gradients together (`torch.nn.utils.clip_grad_norm_`).
    pub norm: f64,
    /// Largest magnitude of an element (`torch.nn.utils.clip_grad_value_`).
    pub value: f64,
}

impl Clip {
    /// Clips in place. `norm` is the finite norm of `gradients`.
    pub fn apply(self, gradients: &mut [Tensor], norm: f64) {
        // PyTorch's coefficient: min(1, max / (norm + 1e-6)).
        let coefficient = self.norm / (norm + 1e-6);
        for gradient in gradients {
            if self.norm > 0.0 && coefficient < 1.0 {
                let _ = gradient.g_mul_scalar_(coefficient);
            }
            if self.value > 0.0 {
                let _ = gradient.clamp_(-self.value, self.value);
            }
        }
    }
}
