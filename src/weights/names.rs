//! From the names in a file to those of a network: prefixes that wrappers put in front.

use crate::checkpoint::Shapes;
use std::collections::BTreeSet;

/// Attributes under which training code keeps the network: `DataParallel`, `torch.compile`, the
/// trainer's own module.
pub const WRAPPERS: [&str; 14] = [
    "module",
    "_orig_mod",
    "backbone",
    "model",
    "encoder",
    "net",
    "network",
    "base_model",
    "base",
    "feature_extractor",
    "image_encoder",
    "clip",
    "clip_model",
    "visual",
];

/// The part in front of every name that the network does not have, such as `module.backbone.`: the one
/// under which most of the network's names are found; of several the shortest.
pub fn prefix<'a>(expected: &Shapes, found: impl Iterator<Item = &'a str>) -> String {
    let found: BTreeSet<&str> = found.collect();
    let candidates: BTreeSet<&str> = found.iter().flat_map(|name| wrapped(name)).collect();
    let fitting = |prefix: &str| {
        let wanted = expected.keys().map(|name| format!("{prefix}{name}"));
        wanted.filter(|name| found.contains(name.as_str())).count()
    };
    let mut best = ("", fitting(""));
    let mut candidates: Vec<&str> = candidates.into_iter().collect();
    candidates.sort_by_key(|candidate| candidate.len());
    for candidate in candidates {
        let count = fitting(candidate);
        if count > best.1 {
            best = (candidate, count);
        }
    }
    best.0.to_owned()
}

/// `a.`, `a.b.` of the name `a.b.c` as long as the parts are wrappers.
fn wrapped(name: &str) -> Vec<&str> {
    let ends = name.match_indices('.').map(|(at, _)| at);
    let mut start = 0;
    let mut prefixes = Vec::new();
    for end in ends {
        if !WRAPPERS.contains(&&name[start..end]) {
            break;
        }
        start = end + 1;
        prefixes.push(&name[..start]);
    }
    prefixes
}

/// Parts of a published network that a backbone may be without: classifiers, the head and the loss of
/// arcrun's own files, the text tower of CLIP.
const LEFT_OUT: [&str; 19] = [
    "fc",
    "classifier",
    "logits",
    "head",
    "heads",
    "head_dist",
    "loss",
    "aux_logits",
    "AuxLogits",
    "transformer",
    "token_embedding",
    "positional_embedding",
    "ln_final",
    "text_projection",
    "logit_scale",
    "logit_bias",
    "text_model",
    "text",
    "text_head",
];

/// Whether a tensor belongs to such a part, and the network has nothing of that name.
pub fn is_left_out(name: &str, expected: &Shapes) -> bool {
    let first = first(name);
    LEFT_OUT.contains(&first) && !expected.keys().any(|other| self::first(other) == first)
}

fn first(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Counters and constants that published files carry beside the weights.
pub fn is_ignored(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    ["num_batches_tracked", "position_ids", "attn_mask"].contains(&last)
        || ["input_resolution", "context_length", "vocab_size"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Shapes {
        ["conv1.weight", "layer1.0.weight", "model.weight"]
            .map(|name| (name.into(), vec![1]))
            .into()
    }

    #[test]
    fn the_prefix_that_fits_is_found() {
        let names = ["conv1.weight", "layer1.0.weight", "model.weight"];
        let of = |prefixes: &[&str]| {
            let all: Vec<String> =
                prefixes.iter().flat_map(|p| names.map(|name| format!("{p}{name}"))).collect();
            prefix(&network(), all.iter().map(String::as_str))
        };
        for one in ["", "module.", "backbone.", "module.backbone.", "_orig_mod.module.encoder."] {
            assert_eq!(of(&[one]), one);
        }
        assert_eq!(of(&["model.", ""]), "");
        assert_eq!(of(&["module.model.", "model."]), "model.");
        // Unknown wrappers are not guessed at.
        assert_eq!(of(&["teacher."]), "");
        assert_eq!(prefix(&network(), ["backbone.a", "module.b"].into_iter()), "");
    }

    #[test]
    fn a_part_of_the_network_is_never_left_out() {
        let mut network = network();
        assert!(is_left_out("fc.weight", &network) && !is_left_out("fc1.weight", &network));
        network.insert("fc.weight".into(), vec![1]);
        assert!(!is_left_out("fc.weight", &network) && !is_left_out("fc.bias", &network));
        assert!(is_ignored("bn.num_batches_tracked") && is_ignored("embeddings.position_ids"));
        assert!(!is_ignored("visual.input_resolution"));
    }
}
