//! Moving averages of whole lists of tensors, in one call.

use super::ffi;
use crate::error::Result;
use tch::Tensor;

/// averages <- averages + weight (values - averages), in place, outside of autograd: the arithmetic
/// of `torch.optim.swa_utils.get_ema_multi_avg_fn`, which is `torch.lerp`.
pub fn lerp(averages: &mut [Tensor], values: &[Tensor], weight: f64) -> Result<()> {
    assert_eq!(averages.len(), values.len(), "one value for each average");
    unsafe {
        ffi::check(ffi::arcrun_average(
            averages.len(),
            ffi::handles(averages).as_ptr(),
            ffi::handles(values).as_ptr(),
            weight,
        ))
    }
}
