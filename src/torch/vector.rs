//! Plain loops over pixels, compiled for the processor at hand.

/// Runs `work` compiled with AVX2 where the processor has it: as far as its code is inlined here. It changes
/// no result, for nothing is fused (no FMA).
pub fn widest<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as the line above found.
        return unsafe { avx2(work) };
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}
