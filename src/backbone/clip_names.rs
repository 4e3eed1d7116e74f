//! The names and layouts of published CLIP weights: OpenAI's and open_clip's, which are ours but for
//! a prefix, and those of Hugging Face's transformers, which keeps queries, keys and values apart
//! and stores projections as [out, in].
//!
//! Everything here is a function of tensors by name: a file is read before and checked after, and
//! what is missing, unknown or of another shape passes through, so that the check names it.

use crate::checkpoint::Named;
use crate::weights::WRAPPERS;
use tch::Tensor;

/// A CLIP's tensors by the names of our towers.
#[derive(Debug, Default)]
pub struct Towers {
    /// As [`super::clip_vision`] names them.
    pub vision: Named,
    /// As [`crate::text`] names them.
    pub text: Named,
    /// What belongs to neither: `logit_scale`, `logit_bias`.
    pub shared: Named,
    /// Names that no CLIP of this form has, as they were, sorted.
    pub unknown: Vec<String>,
}

/// Whose names a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenAI's and open_clip's: `visual.conv1.weight`, `token_embedding.weight`.
    OpenClip,
    /// Hugging Face's: `vision_model.pre_layrnorm.weight` (sic), `text_model.*`.
    HuggingFace,
}

const SHARED: [&str; 2] = ["logit_scale", "logit_bias"];
/// Constants that OpenAI's and older files hold beside the weights.
const CONSTANTS: [&str; 5] =
    ["input_resolution", "context_length", "vocab_size", "attn_mask", "position_ids"];
const TEXT: [&str; 5] =
    ["positional_embedding", "text_projection", "token_embedding.", "transformer.", "ln_final."];

const VISION_MODEL: &str = "vision_model.";
const TEXT_MODEL: &str = "text_model.";
const LAYERS: &str = "encoder.layers.";
const BLOCKS: &str = "transformer.resblocks.";

/// (theirs below `vision_model.`, ours); a name that ends in a dot is a prefix.
const VISION_NAMES: [(&str, &str); 5] = [
    ("embeddings.class_embedding", "class_embedding"),
    ("embeddings.patch_embedding.", "conv1."),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("pre_layrnorm.", "ln_pre."),
    ("post_layernorm.", "ln_post."),
];
/// (theirs below `text_model.`, ours)
const TEXT_NAMES: [(&str, &str); 3] = [
    ("embeddings.token_embedding.", "token_embedding."),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("final_layer_norm.", "ln_final."),
];
/// (theirs below a layer, ours below a block); queries, keys and values are apart.
const BLOCK_NAMES: [(&str, &str); 5] = [
    ("layer_norm1.", "ln_1."),
    ("self_attn.out_proj.", "attn.out_proj."),
    ("layer_norm2.", "ln_2."),
    ("mlp.fc1.", "mlp.c_fc."),
    ("mlp.fc2.", "mlp.c_proj."),
];
const JOINT: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

impl Form {
    /// The form of a file that holds one of CLIP's Vision Transformers or its text tower; None of
    /// others, such as our own.
    pub fn of(tensors: &Named) -> Option<Form> {
        let has = |names: &[&str]| names.iter().any(|name| tensors.contains_key(*name));
        let patches = "embeddings.patch_embedding.weight";
        let tokens = "embeddings.token_embedding.weight";
        if has(&["visual.class_embedding", "token_embedding.weight", "text.token_embedding.weight"])
        {
            Some(Form::OpenClip)
        } else if tensors.keys().any(|name| name.ends_with(patches) || name.ends_with(tokens)) {
            Some(Form::HuggingFace)
        } else {
            None
        }
    }
}

/// A file's tensors without the prefixes that wrappers put in front of all names, and its form; as they
/// were where no form is found. A visual tower alone counts as that of a whole CLIP.
pub fn unwrapped(mut tensors: Named) -> (Named, Option<Form>) {
    let whole: Named = tensors.iter().map(|(k, v)| (k.clone(), v.shallow_clone())).collect();
    // Four levels, as elsewhere.
    for _ in 0..=4 {
        if let Some(form) = Form::of(&tensors) {
            return (tensors, Some(form));
        }
        if ["class_embedding", "conv1.weight", "ln_pre.weight"]
            .iter()
            .all(|n| tensors.contains_key(*n))
        {
            let tower =
                tensors.into_iter().map(|(name, tensor)| (format!("visual.{name}"), tensor));
            return (tower.collect(), Some(Form::OpenClip));
        }
        let first = |name: &String| name.split_once('.').map(|(first, _)| first.to_owned());
        let Some(wrapper) = tensors.keys().next().and_then(first) else { break };
        let prefix = format!("{wrapper}.");
        let all = tensors.keys().all(|name| name.starts_with(&prefix));
        if !all || !WRAPPERS.contains(&wrapper.as_str()) {
            break;
        }
        let bare = |(name, tensor): (String, Tensor)| (name[prefix.len()..].to_owned(), tensor);
        tensors = tensors.into_iter().map(bare).collect();
    }
    (whole, None)
}

impl Towers {
    /// Both towers, as far as they are there, of a file of such a form.
    pub fn read(form: Form, tensors: &Named) -> Towers {
        match form {
            Form::OpenClip => Self::from_open_clip(tensors),
            Form::HuggingFace => Self::from_hugging_face(tensors),
        }
    }

    /// The same tensors as a file of such a form has them. Converting there and back changes
    /// nothing, and gradients convert as weights do.
    pub fn write(&self, form: Form) -> Named {
        match form {
            Form::OpenClip => self.to_open_clip(),
            Form::HuggingFace => self.to_hugging_face(),
        }
    }

    fn from_open_clip(tensors: &Named) -> Towers {
        let mut towers = Towers::default();
        for (name, tensor) in tensors {
            let tensor = tensor.shallow_clone();
            // Models with a text tower of their own class put it below `text.`.
            let bare = name.strip_prefix("text.").unwrap_or(name);
            if let Some(name) = name.strip_prefix("visual.") {
                towers.vision.insert(name.to_owned(), tensor);
            } else if TEXT.iter().any(|text| is_named(bare, text)) {
                towers.text.insert(bare.to_owned(), tensor);
            } else {
                towers.take_rest(name, tensor);
            }
        }
        towers
    }

    fn to_open_clip(&self) -> Named {
        let own = |tensors: &Named, prefix: &str| -> Named {
            let named = |(name, x): (&String, &Tensor)| (format!("{prefix}{name}"), x.contiguous());
            tensors.iter().map(named).collect()
        };
        let mut all = own(&self.vision, "visual.");
        all.extend(own(&self.text, ""));
        all.extend(own(&self.shared, ""));
        all
    }

    fn from_hugging_face(tensors: &Named) -> Towers {
        let mut towers = Towers::default();
        // A tower saved by itself may stand without its prefix.
        let added = if tensors.contains_key("embeddings.patch_embedding.weight") {
            VISION_MODEL
        } else if tensors.contains_key("embeddings.token_embedding.weight") {
            TEXT_MODEL
        } else {
            ""
        };
        let prefixed =
            |(name, x): (&String, &Tensor)| (format!("{added}{name}"), x.shallow_clone());
        let named: Named = tensors.iter().map(prefixed).collect();
        for (name, tensor) in &named {
            let tensor = tensor.shallow_clone();
            if name == "visual_projection.weight" {
                towers.vision.insert("proj".into(), transposed(&tensor));
            } else if name == "text_projection.weight" {
                towers.text.insert("text_projection".into(), transposed(&tensor));
            } else if let Some(rest) = name.strip_prefix(VISION_MODEL) {
                towers.take_hugging_face(&named, name, rest, tensor);
            } else if let Some(rest) = name.strip_prefix(TEXT_MODEL) {
                towers.take_hugging_face(&named, name, rest, tensor);
            } else {
                towers.take_rest(name, tensor);
            }
        }
        for name in &mut towers.unknown {
            *name = name[added.len()..].to_owned();
        }
        towers
    }

    /// `rest` is `name` without the tower's prefix.
    fn take_hugging_face(&mut self, all: &Named, name: &str, rest: &str, tensor: Tensor) {
        let vision = name.starts_with(VISION_MODEL);
        let names = if vision { VISION_NAMES.as_slice() } else { TEXT_NAMES.as_slice() };
        let ours = match rest.strip_prefix(LAYERS).and_then(|rest| rest.split_once('.')) {
            Some((index, rest)) => match split_joint(rest) {
                Some((part, kind)) => {
                    let layer = &name[..name.len() - rest.len()];
                    let parts = JOINT.map(|part| all.get(&joint_name(layer, part, kind)));
                    match (joined(parts), part) {
                        // The first of the three stands for all.
                        (Some(joint), "q_proj") => {
                            let name = format!("{BLOCKS}{index}.attn.in_proj_{kind}");
                            let tower = if vision { &mut self.vision } else { &mut self.text };
                            tower.insert(name, joint);
                        }
                        (Some(_), _) => {}
                        (None, _) => self.unknown.push(name.to_owned()),
                    }
                    return;
                }
                None => {
                    renamed(rest, &BLOCK_NAMES, false).map(|rest| format!("{BLOCKS}{index}.{rest}"))
                }
            },
            None => renamed(rest, names, false),
        };
        match ours {
            Some(ours) => {
                let tower = if vision { &mut self.vision } else { &mut self.text };
                tower.insert(ours, tensor);
            }
            None => self.take_rest(name, tensor),
        }
    }

    fn to_hugging_face(&self) -> Named {
        let mut all = Named::new();
        for (tower, prefix, names, projection) in [
            (&self.vision, VISION_MODEL, VISION_NAMES.as_slice(), ("proj", "visual_projection")),
            (&self.text, TEXT_MODEL, TEXT_NAMES.as_slice(), ("text_projection", "text_projection")),
        ] {
            for (name, tensor) in tower {
                if name == projection.0 {
                    all.insert(format!("{}.weight", projection.1), transposed(tensor));
                    continue;
                }
                let block = name.strip_prefix(BLOCKS).and_then(|rest| rest.split_once('.'));
                let theirs = match block {
                    Some((index, rest)) => {
                        let layer = format!("{prefix}{LAYERS}{index}.");
                        if let Some(kind) = rest.strip_prefix("attn.in_proj_") {
                            for (part, tensor) in JOINT.into_iter().zip(tensor.chunk(3, 0)) {
                                all.insert(joint_name(&layer, part, kind), tensor.contiguous());
                            }
                            continue;
                        }
                        renamed(rest, &BLOCK_NAMES, true).map(|rest| format!("{layer}{rest}"))
                    }
                    None => renamed(name, names, true).map(|name| format!("{prefix}{name}")),
                };
                let theirs = theirs.unwrap_or_else(|| format!("{prefix}{name}"));
                all.insert(theirs, tensor.contiguous());
            }
        }
        let shared = |(name, x): (&String, &Tensor)| (name.clone(), x.contiguous());
        all.extend(self.shared.iter().map(shared));
        all
    }

    /// What is of no tower.
    fn take_rest(&mut self, name: &str, tensor: Tensor) {
        let last = name.rsplit('.').next().unwrap_or(name);
        if SHARED.contains(&name) {
            self.shared.insert(name.to_owned(), tensor);
        } else if !CONSTANTS.contains(&last) {
            self.unknown.push(name.to_owned());
        }
    }
}

/// Whether `name` is `known`, or below it where that ends in a dot.
fn is_named(name: &str, known: &str) -> bool {
    if known.ends_with('.') { name.starts_with(known) } else { name == known }
}

/// `name` by the table of (theirs, ours), from theirs to ours or `back`.
fn renamed(name: &str, table: &[(&str, &str)], back: bool) -> Option<String> {
    table.iter().find_map(|&(theirs, ours)| {
        let (from, to) = if back { (ours, theirs) } else { (theirs, ours) };
        is_named(name, from).then(|| format!("{to}{}", &name[from.len()..]))
    })
}

/// `self_attn.q_proj.weight` is of `q_proj`, the weight.
fn split_joint(name: &str) -> Option<(&str, &str)> {
    let (part, kind) = name.strip_prefix("self_attn.")?.split_once('.')?;
    JOINT.contains(&part).then_some((part, kind))
}

fn joint_name(layer: &str, part: &str, kind: &str) -> String {
    format!("{layer}self_attn.{part}.{kind}")
}

/// Queries, keys and values as one, where all three are there and of one shape.
fn joined(parts: [Option<&Tensor>; 3]) -> Option<Tensor> {
    let [Some(query), Some(key), Some(value)] = parts else { return None };
    let size = query.size();
    let alike = !size.is_empty() && key.size() == size && value.size() == size;
    alike.then(|| Tensor::cat(&[query, key, value], 0))
}

/// [out, in] to [in, out] or back; anything but a matrix stays, for the check of shapes.
fn transposed(matrix: &Tensor) -> Tensor {
    if matrix.dim() == 2 { matrix.tr().contiguous() } else { matrix.shallow_clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn zeros(shape: &[i64]) -> Tensor {
        Tensor::zeros(shape, (Kind::Float, Device::Cpu))
    }

    fn named(list: &[(&str, &[i64])]) -> Named {
        list.iter().map(|&(name, shape)| (name.to_string(), zeros(shape))).collect()
    }

    #[test]
    fn a_form_is_known_by_its_names() {
        let form = |name: &str| Form::of(&named(&[(name, &[1])]));
        assert_eq!(form("visual.class_embedding"), Some(Form::OpenClip));
        assert_eq!(form("text.token_embedding.weight"), Some(Form::OpenClip));
        assert_eq!(form("vision_model.embeddings.patch_embedding.weight"), Some(Form::HuggingFace));
        assert_eq!(form("embeddings.token_embedding.weight"), Some(Form::HuggingFace));
        assert_eq!(form("conv1.weight"), None);
    }

    #[test]
    fn constants_are_left_out_and_foreign_names_are_told() {
        let file = named(&[
            ("input_resolution", &[]),
            ("logit_scale", &[]),
            ("visual.class_embedding", &[4]),
            ("text.ln_final.bias", &[4]),
            ("ln_finally", &[4]),
            ("module.visual.proj", &[4, 4]),
        ]);
        let towers = Towers::read(Form::OpenClip, &file);
        assert_eq!(towers.vision.keys().collect::<Vec<_>>(), ["class_embedding"]);
        assert_eq!(towers.text.keys().collect::<Vec<_>>(), ["ln_final.bias"]);
        assert_eq!(towers.shared.keys().collect::<Vec<_>>(), ["logit_scale"]);
        assert_eq!(towers.unknown, ["ln_finally", "module.visual.proj"]);

        let layer = "vision_model.encoder.layers.3.self_attn";
        let [query, key, value, odd] = [
            format!("{layer}.q_proj.bias"),
            format!("{layer}.k_proj.bias"),
            format!("{layer}.v_proj.bias"),
            format!("{layer}.o_proj.bias"),
        ];
        let ids = "vision_model.embeddings.position_ids";
        let whole: [(&str, &[i64]); 5] =
            [(&query, &[2]), (&key, &[2]), (&value, &[2]), (&odd, &[2]), (ids, &[1, 5])];
        let towers = Towers::read(Form::HuggingFace, &named(&whole));
        assert_eq!(towers.vision["transformer.resblocks.3.attn.in_proj_bias"].size(), [6]);
        assert_eq!(towers.unknown, std::slice::from_ref(&odd));
        // Not all three, or of several shapes: told, and the joint one is missing.
        for broken in [&whole[..2], &[(&*query, &[2]), (&key, &[3]), (&value, &[2])]] {
            let towers = Towers::read(Form::HuggingFace, &named(broken));
            assert!(towers.vision.is_empty());
            assert_eq!(towers.unknown.len(), broken.len());
        }
    }
}
