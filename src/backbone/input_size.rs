//! Sizes of images that a network can take.

use crate::config::check::{Check, that};
use crate::data::PreprocessConfig;

/// A height and a width of maps.
pub fn sides() -> Check<Vec<usize>> {
    that("two numbers between 1 and 256", |sides: &Vec<usize>| {
        sides.len() == 2 && sides.iter().all(|side| (1..=256).contains(side))
    })
}

/// Of a network with a layer over the whole of its last maps, which are the image's size divided by
/// `reduction`, rounded up: what is wrong with the `stated` height and width of those.
pub fn conflict(stated: &[usize], reduction: usize, input: &PreprocessConfig) -> Option<String> {
    let needed = [input.height, input.width].map(|side| side.div_ceil(reduction));
    (stated != needed).then(|| {
        format!(
            "is {stated:?}, but preprocess.height = {} and preprocess.width = {} need {needed:?}: \
             pretrained weights tell which of the two is right",
            input.height, input.width,
        )
    })
}

/// Of a network without padding in some convolutions, which leaves nothing of a side shorter than
/// `least` pixels: what is wrong with the images.
pub fn too_small(kind: &str, least: usize, input: &PreprocessConfig) -> Option<String> {
    (input.height < least || input.width < least).then(|| {
        format!(
            "is {kind:?}, which needs images of at least {least} x {least} pixels, but \
             preprocess.height = {} and preprocess.width = {}: raise them to what the pretrained \
             weights were made for, or take another kind",
            input.height, input.width,
        )
    })
}
