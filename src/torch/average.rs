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

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Fixture {
        decay: f64,
        values: Vec<Vec<f32>>,
        averages: Vec<Vec<f32>>,
    }

    /// `tools/parity/ema.py`: torch.optim.swa_utils, whose first update copies.
    #[test]
    fn the_average_is_torchs() {
        let fixture = include_str!("../../tests/fixtures/ema.json");
        let Fixture { decay, values, averages } = serde_json::from_str(fixture).unwrap();
        let mut average = [Tensor::from_slice(&values[0]), Tensor::from_slice(&values[0])];
        assert!(values.len() == 6 && average[0] == Tensor::from_slice(&averages[0]));
        for (value, expected) in values.iter().zip(&averages).skip(1) {
            let value = Tensor::from_slice(value);
            lerp(&mut average, &[value.shallow_clone(), value], 1.0 - decay).unwrap();
            let expected = Tensor::from_slice(expected);
            // One rounding of float32 for each of five updates.
            let far = (&average[1] - &expected).abs() / (expected.abs() + 1e-3);
            assert!(far.max().double_value(&[]) < 1e-6, "{}", far.max().double_value(&[]));
        }
    }
}
