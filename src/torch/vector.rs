//! Plain loops over pixels, compiled for the processor at hand.

/// A loop to be compiled for the processor at hand.
pub trait Loop {
    /// The work. It must be `#[inline(always)]`, and so must what it calls: a function of its own, such as a
    /// closure that the compiler finds too long, stays compiled for any processor.
    fn run(self);
}

/// Runs `work` compiled with AVX2 where the processor has it. It changes no result, for nothing is fused
/// (no FMA).
pub fn widest(work: impl Loop) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as the line above found.
        return unsafe { avx2(work) };
    }
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(work: impl Loop) {
    work.run();
}

/// The whole part of a colour, cut to 0 to 255; 0 for NaN. A cast by `as` does the same, but many at a time
/// only with a dozen instructions for what is out of range.
#[inline(always)]
pub fn to_byte(value: f32) -> u8 {
    let value = if value > 0.0 { value } else { 0.0 };
    let value = if value < 255.0 { value } else { 255.0 };
    // SAFETY: it is between 0 and 255, and no NaN, for which neither comparison holds.
    unsafe { value.to_int_unchecked::<i32>() as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_cut_as_a_cast_does() {
        let whole = (0..=512).map(|n| n as f32 / 2.0);
        let odd = [-1.0, -0.0, 255.99, 1e30, -1e30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        for value in whole.chain(odd) {
            assert_eq!(to_byte(value), value as u8, "{value}");
        }
    }
}
