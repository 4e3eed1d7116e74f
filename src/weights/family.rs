//! Which network weights are of, told by their names and a few shapes.

use crate::checkpoint::Shapes;

/// The network, as a kind of backbone where arcrun has one; None: it is not known.
pub fn recognise(shapes: &Shapes) -> Option<&'static str> {
    let has = |name: &str| shapes.contains_key(name);
    if has("layer1.0.conv1.weight") {
        return residual(shapes);
    }
    if has("repeat_1.0.branch0.conv.weight") {
        return Some("inception_resnet_v1");
    }
    if has("linear7.conv.weight") || has("conv_sep.layers.0.weight") {
        return Some("mobilefacenet");
    }
    if has("features.1.0.block.0.0.weight") {
        return efficientnet(shapes);
    }
    if has("stages.0.0.conv.bias") {
        return Some("embedding_2d");
    }
    if has("stem.conv.weight") && shapes.keys().any(|name| name.starts_with("stages.0.0.")) {
        return Some("efficient_fr");
    }
    clip(shapes)
}

/// Blocks of `prefix0.`, `prefix1.`, ...
fn blocks(shapes: &Shapes, prefix: &str) -> usize {
    let number =
        |name: &String| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok();
    shapes.keys().filter_map(number).max().map_or(0, |last| last.saturating_add(1))
}

/// ResNets of torchvision, and InsightFace's with a PReLU in each block.
fn residual(shapes: &Shapes) -> Option<&'static str> {
    let depths = [1, 2, 3, 4].map(|stage| blocks(shapes, &format!("layer{stage}.")));
    if shapes.contains_key("layer1.0.prelu.weight") {
        return Some(match depths {
            [2, 2, 2, 2] => "iresnet18",
            [3, 4, 6, 3] => "iresnet34",
            [3, 4, 14, 3] => "iresnet50",
            [3, 13, 30, 3] => "iresnet100",
            [6, 26, 60, 6] => "iresnet200",
            _ => return None,
        });
    }
    // The wide and grouped ones have the same blocks with other channels.
    let bottleneck = shapes.contains_key("layer1.0.conv3.weight");
    if shapes.get("layer1.0.conv2.weight")? != &vec![64, 64, 3, 3] {
        return Some("a wide or grouped ResNet, which arcrun does not have");
    }
    Some(match (bottleneck, depths) {
        (false, [2, 2, 2, 2]) => "resnet18",
        (false, [3, 4, 6, 3]) => "resnet34",
        (true, [3, 4, 6, 3]) => "resnet50",
        (true, [3, 4, 23, 3]) => "resnet101",
        (true, [3, 8, 36, 3]) => "resnet152",
        _ => return None,
    })
}

/// torchvision's EfficientNets; their depth and the width of the last convolution tell them apart.
fn efficientnet(shapes: &Shapes) -> Option<&'static str> {
    let depths = [1, 2, 3, 4, 5, 6, 7].map(|stage| blocks(shapes, &format!("features.{stage}.")));
    match (depths, shapes.get("features.8.0.weight")?.first()?) {
        ([1, 2, 2, 3, 3, 4, 1], 1280) => Some("efficientnet_b0"),
        _ => Some("a larger EfficientNet, which arcrun does not have"),
    }
}

/// The visual tower of CLIP by the names of OpenAI and open_clip, and of Hugging Face, with or without
/// what stands in front of them.
fn clip(shapes: &Shapes) -> Option<&'static str> {
    let patches = [
        "visual.conv1.weight",
        "conv1.weight",
        "vision_model.embeddings.patch_embedding.weight",
        "embeddings.patch_embedding.weight",
    ];
    let patches = patches.iter().find_map(|name| shapes.get(*name))?;
    let blocks = ["resblocks.0.", "encoder.layers.0."];
    if !shapes.keys().any(|name| blocks.iter().any(|block| name.contains(block))) {
        return None;
    }
    match patches.as_slice() {
        [768, 3, 32, 32] => Some("vit_b_32"),
        [768, 3, 16, 16] => Some("vit_b_16"),
        [1024, 3, 14, 14] => Some("vit_l_14"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names without shapes, as far as none is looked at.
    fn of(names: &[(&str, &[i64])]) -> Shapes {
        names.iter().map(|(name, shape)| (name.to_string(), shape.to_vec())).collect()
    }

    fn residual(depths: [usize; 4], more: &[(&str, &[i64])]) -> Shapes {
        let mut shapes = of(more);
        for (stage, depth) in depths.iter().enumerate() {
            for block in 0..*depth {
                shapes.insert(format!("layer{}.{block}.conv1.weight", stage + 1), vec![]);
            }
        }
        shapes
    }

    #[test]
    fn depths_tell_residual_networks_apart() {
        let narrow: (&str, &[i64]) = ("layer1.0.conv2.weight", &[64, 64, 3, 3]);
        let wide: (&str, &[i64]) = ("layer1.0.conv2.weight", &[128, 128, 3, 3]);
        let (three, prelu) =
            (("layer1.0.conv3.weight", &[][..]), ("layer1.0.prelu.weight", &[][..]));
        for (depths, more, expected) in [
            ([2, 2, 2, 2], &[narrow][..], Some("resnet18")),
            ([3, 4, 6, 3], &[narrow], Some("resnet34")),
            ([3, 4, 6, 3], &[narrow, three], Some("resnet50")),
            ([3, 4, 23, 3], &[narrow, three], Some("resnet101")),
            ([3, 4, 5, 3], &[narrow, three], None),
            ([3, 4, 14, 3], &[prelu], Some("iresnet50")),
            ([3, 13, 30, 3], &[prelu], Some("iresnet100")),
        ] {
            assert_eq!(recognise(&residual(depths, more)), expected, "{depths:?}");
        }
        let wide = recognise(&residual([3, 4, 6, 3], &[wide, three]));
        assert!(wide.is_some_and(|name| name.contains("wide")));
        assert_eq!(recognise(&of(&[("a.weight", &[1])])), None);
    }

    #[test]
    fn patches_tell_clips_apart() {
        for (name, block) in [
            ("visual.conv1.weight", "visual.transformer.resblocks.0.ln_1.weight"),
            ("conv1.weight", "transformer.resblocks.0.ln_1.weight"),
            (
                "vision_model.embeddings.patch_embedding.weight",
                "vision_model.encoder.layers.0.layer_norm1.weight",
            ),
        ] {
            let shapes = of(&[(name, &[768, 3, 32, 32]), (block, &[768])]);
            assert_eq!(recognise(&shapes), Some("vit_b_32"), "{name}");
        }
    }
}
