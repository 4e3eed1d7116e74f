//! Position embeddings of CLIP's weights at other sizes than they were trained for.

use super::clip_names::Towers;
use crate::error::{Error, Result};
use tch::{Kind, Tensor};

impl Towers {
    /// Brings the visual tower's position embeddings to `grid` x `grid` patches, by the cubic
    /// convolution with antialiasing of open_clip's `resize_pos_embed`; the class token's stays.
    /// Returns what was done, to be said aloud; embeddings of no square are left to the check of
    /// shapes.
    pub fn fit_grid(&mut self, grid: usize) -> Option<String> {
        let old = self.vision.get("positional_embedding")?;
        let side = square_side(old)?;
        let grid = grid as i64;
        if side == grid {
            return None;
        }
        let (kind, width) = (old.kind(), old.size()[1]);
        // Interpolation knows no half precision on the CPU.
        let wide = if kind == Kind::Double { kind } else { Kind::Float };
        let class = old.narrow(0, 0, 1);
        let patches = old.narrow(0, 1, side * side).to_kind(wide);
        let maps = patches.reshape([1, side, side, width]).permute([0, 3, 1, 2]);
        let maps = maps.internal_upsample_bicubic2d_aa([grid, grid], false, None, None);
        let patches = maps.permute([0, 2, 3, 1]).reshape([grid * grid, width]).to_kind(kind);
        self.vision.insert("positional_embedding".into(), Tensor::cat(&[class, patches], 0));
        Some(format!(
            "position embeddings were interpolated from {side} x {side} to {grid} x {grid} patches"
        ))
    }

    /// Brings the text tower's position embeddings to `length` tokens. Fewer are the first ones:
    /// the tower is causal, so texts that fit have the same features as before. Returns what was
    /// done, to be said aloud.
    ///
    /// # Errors
    /// More tokens than the weights know: open_clip would interpolate them, which gives every
    /// token a position that it was not trained with.
    pub fn fit_context(&mut self, length: usize) -> Result<Option<String>> {
        let Some(old) = self.text.get("positional_embedding") else { return Ok(None) };
        let known = old.size().first().copied().unwrap_or(0);
        let length = length as i64;
        if length > known {
            let message = format!("the text tower's weights know {known} positions, not {length}");
            return Err(Error::input(message)
                .help(format!("set context_length = {known}, or pretrained = \"none\"")));
        }
        if length == known {
            return Ok(None);
        }
        let cut = old.narrow(0, 0, length).contiguous();
        self.text.insert("positional_embedding".into(), cut);
        Ok(Some(format!("position embeddings were cut from {known} to {length} tokens")))
    }
}

/// The side of the square of patches, beside the class token.
fn square_side(positions: &Tensor) -> Option<i64> {
    let size = positions.size();
    let patches = size.first()?.checked_sub(1).filter(|&patches| patches > 0 && size.len() == 2)?;
    let side = patches.isqrt();
    (side * side == patches).then_some(side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Named;
    use tch::Device;

    fn positions(shape: &[i64]) -> Named {
        let zeros = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        Named::from([("positional_embedding".to_string(), zeros)])
    }

    #[test]
    fn positions_of_no_square_are_left_to_the_check() {
        let mut towers = Towers::default();
        assert_eq!(towers.fit_grid(3), None);
        towers.vision = positions(&[12, 4]);
        assert_eq!(towers.fit_grid(3), None);
        assert_eq!(towers.vision["positional_embedding"].size(), [12, 4]);
        towers.vision = positions(&[17, 4]);
        assert_eq!(towers.fit_grid(4), None);
        let half = towers.vision["positional_embedding"].to_kind(Kind::Half);
        towers.vision.insert("positional_embedding".into(), half);
        assert!(towers.fit_grid(3).unwrap().contains("from 4 x 4 to 3 x 3"));
        let fitted = &towers.vision["positional_embedding"];
        assert_eq!((fitted.size(), fitted.kind()), (vec![10, 4], Kind::Half));
    }

    #[test]
    fn a_longer_context_is_refused_and_a_shorter_one_cut() {
        let mut towers = Towers::default();
        assert_eq!(towers.fit_context(9).unwrap(), None);
        towers.text = positions(&[77, 4]);
        assert_eq!(towers.fit_context(77).unwrap(), None);
        let refused = towers.fit_context(78).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("77 positions, not 78"), "{refused}");
        assert!(towers.fit_context(16).unwrap().unwrap().contains("from 77 to 16"));
        assert_eq!(towers.text["positional_embedding"].size(), [16, 4]);
    }
}
