//! What images were decoded and resized for.

use serde::{Deserialize, Serialize};

use crate::data::Preprocess;

/// The keys of `[preprocess]` that decide about pixels before they are normalised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoded {
    pub height: usize,
    pub width: usize,
    pub resize: String,
    pub shorter_side: usize,
    pub interpolation: String,
    pub dct_scaling: bool,
}

impl Decoded {
    /// What `to` makes of an image.
    pub fn of(to: &Preprocess) -> Self {
        let Preprocess { height, width, resize, shorter_side, interpolation, dct_scaling, .. } = to;
        Decoded {
            height: *height,
            width: *width,
            resize: resize.to_string(),
            shorter_side: *shorter_side,
            interpolation: interpolation.to_string(),
            dct_scaling: *dct_scaling,
        }
    }

    /// What `to` has differently, in words that name the keys; none if pixels come out the same.
    pub fn difference(&self, to: &Preprocess) -> Option<String> {
        let other = Decoded::of(to);
        let quoted = |text: &str| format!("\"{text}\"");
        let keys = [
            ("height", self.height.to_string(), other.height.to_string()),
            ("width", self.width.to_string(), other.width.to_string()),
            ("resize", quoted(&self.resize), quoted(&other.resize)),
            ("shorter_side", self.shorter_side.to_string(), other.shorter_side.to_string()),
            ("interpolation", quoted(&self.interpolation), quoted(&other.interpolation)),
            ("dct_scaling", self.dct_scaling.to_string(), other.dct_scaling.to_string()),
        ];
        let differ = keys.into_iter().filter(|(_, ours, theirs)| ours != theirs);
        let told: Vec<String> = differ
            .map(|(key, ours, theirs)| format!("preprocess.{key} = {ours}, not {theirs}"))
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}
