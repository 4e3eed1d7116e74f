//! Dynamic loss scaling for float16, whose gradients would underflow to zero.
//!
//! Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2; behaves as
//! `torch.amp.GradScaler`. Differs from it in: the scale lives on the host, because the step's
//! "was anything non-finite" is read there anyway.

use super::ffi;
use crate::error::Result;
use tch::{Kind, Tensor};

/// Per step: backward of [`scale`](Self::scale)d loss, [`unscale`](Self::unscale) of the
/// gradients, the optimizer step unless something was not finite, [`update`](Self::update).
#[derive(Clone, Debug, PartialEq)]
pub struct GradScaler {
    state: State,
    growth_factor: f64,
    backoff_factor: f64,
    growth_interval: u64,
}

/// What a checkpoint keeps.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// Factor of the loss.
    pub scale: f64,
    /// Steps since the scale last changed or a gradient was not finite.
    pub growth_tracker: u64,
}

impl Default for GradScaler {
    /// PyTorch's: 65536 at first, doubled every 2,000 steps, halved on overflow.
    fn default() -> Self {
        Self {
            state: State { scale: 65536.0, growth_tracker: 0 },
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
        }
    }
}

impl GradScaler {
    pub fn state(&self) -> State {
        self.state
    }

    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// The loss to call backward on, in float32.
    pub fn scale(&self, loss: &Tensor) -> Tensor {
        loss.to_kind(Kind::Float) * self.state.scale
    }

    /// Divides the gradients by the scale in place, and multiplies them by `factor`. True: one of
    /// them is infinite or not a number, and the optimizer step must be left out.
    pub fn unscale(&self, grads: &mut [Tensor], factor: f64) -> Result<bool> {
        let handles = ffi::handles(grads);
        let inverse = factor / self.state.scale;
        let mut non_finite = false;
        unsafe {
            ffi::check(ffi::arcrun_unscale(
                handles.len(),
                handles.as_ptr(),
                inverse,
                &mut non_finite,
            ))?
        };
        Ok(non_finite)
    }

    /// Ends a step: backs off after a non-finite gradient, grows after enough finite ones.
    pub fn update(&mut self, non_finite: bool) {
        let State { scale, growth_tracker } = &mut self.state;
        if non_finite {
            *scale *= self.backoff_factor;
            *growth_tracker = 0;
            return;
        }
        *growth_tracker += 1;
        if *growth_tracker == self.growth_interval {
            let grown = *scale * self.growth_factor;
            // The scale multiplies a float32 loss: there it must stay finite.
            if (grown as f32).is_finite() {
                *scale = grown;
            }
            *growth_tracker = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn gradients_come_back_unscaled() {
        let scaler = GradScaler::default();
        let w = Tensor::from_slice(&[1f32, -2.0]).set_requires_grad(true);
        scaler.scale(&(&w * &w).sum(Kind::Float)).backward();
        assert_eq!(w.grad(), Tensor::from_slice(&[2f32 * 65536.0, -4.0 * 65536.0]));
        let mut grads = [w.grad()];
        assert!(!scaler.unscale(&mut grads, 1.0).unwrap());
        assert_eq!(w.grad(), Tensor::from_slice(&[2f32, -4.0]));
    }

    #[test]
    fn non_finite_gradients_are_found_anywhere() {
        let scaler = GradScaler::default();
        let found = |bad: f32| {
            let mut grads =
                [Tensor::ones([3], (Kind::Float, Device::Cpu)), Tensor::from_slice(&[0.5, bad])];
            scaler.unscale(&mut grads, 1.0).unwrap()
        };
        assert!(found(f32::INFINITY) && found(f32::NEG_INFINITY) && found(f32::NAN));
        assert!(!found(f32::MAX));
        assert!(!scaler.unscale(&mut [], 1.0).unwrap());
    }

    #[test]
    fn scale_backs_off_and_grows_as_in_torch() {
        let mut scaler = GradScaler { growth_interval: 3, ..GradScaler::default() };
        let overflow = [true, false, false, true, false, false, false, false, true];
        let scales: Vec<f64> = overflow
            .into_iter()
            .map(|non_finite| {
                scaler.update(non_finite);
                scaler.state().scale / 65536.0
            })
            .collect();
        assert_eq!(scales, [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.5, 0.5, 0.25]);
        assert_eq!(scaler.state().growth_tracker, 0);
    }

    #[test]
    fn scale_stays_finite_in_float32() {
        let mut scaler = GradScaler { growth_interval: 1, ..GradScaler::default() };
        let top = State { scale: 2f64.powi(127), growth_tracker: 0 };
        scaler.set_state(top);
        scaler.update(false);
        assert_eq!(scaler.state(), top);
    }

    #[test]
    fn state_survives_json() {
        let state = State { scale: 2048.0, growth_tracker: 17 };
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
    }
}
