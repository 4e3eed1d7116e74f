//! The mirror image.

use super::planes::Planes;

/// Exchanges left and right.
#[inline(always)]
pub fn flip(image: &mut Planes<'_>) {
    image.pixels.chunks_exact_mut(image.width).for_each(|row| row.reverse());
}
