//! Where published weights live, which backbones they fit, and how their images are prepared.
//!
//! Addresses and checksums are the publishers': torchvision 0.26 and open_clip carry the first digits
//! of the SHA-256 in their files' names, OpenAI the whole in the address; facenet-pytorch 2.6 and
//! Hugging Face's files come without.

use crate::data::Interpolation;
use std::path::Path;

/// Published weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// What `backbone.pretrained` states.
    pub name: &'static str,
    /// Kinds of backbone that they fit.
    pub kinds: &'static [&'static str],
    pub source: Source,
    /// The file's name in the cache.
    pub file: &'static str,
    /// The SHA-256 in lowercase hexadecimal, or its first digits; None: the publisher states none.
    pub sha256: Option<&'static str>,
    /// About, in units of 10^6 bytes.
    pub megabytes: u32,
    pub preprocessing: Preprocessing,
    /// What else one must know.
    pub note: &'static str,
}

/// Where the file is to be had.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    Url(&'static str),
    /// A page that leads there: no address serves the file itself.
    Page(&'static str),
}

/// How images were prepared for the training: RGB, values of 0 to 255 divided by 255, then
/// `(x - mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// Height and width of the input, pixels.
    pub size: usize,
    /// Length of the shorter side before the middle is cut out; None: the image is aligned, or
    /// brought to the input size as it is.
    pub shorter_side: Option<usize>,
    pub interpolation: Interpolation,
    pub mean: [f64; 3],
    pub std: [f64; 3],
}

impl Entry {
    /// The activation that CLIP's weights were trained with, as `activation` states it; None of others. As
    /// open_clip does it, the name tells: OpenAI's have QuickGELU, its own unless the name says so GELU.
    pub fn activation(&self) -> Option<&'static str> {
        let is_clip = self.kinds.iter().any(|kind| kind.starts_with("vit_"));
        let quick = self.name.starts_with("openai/") || self.name.contains("quickgelu");
        is_clip.then_some(if quick { "quick_gelu" } else { "gelu" })
    }
}

impl Preprocessing {
    /// On one line.
    pub fn describe(&self) -> String {
        let Preprocessing { size, shorter_side, interpolation, mean, std } = self;
        let how = shorter_side
            .map_or(String::new(), |side| format!(" from the middle of a shorter side of {side}"));
        let interpolation = interpolation.as_str();
        format!("{size}x{size}{how}, {interpolation}, RGB / 255, mean {mean:?}, std {std:?}")
    }
}

/// torchvision's `ImageClassification`.
const fn imagenet(shorter_side: usize, interpolation: Interpolation) -> Preprocessing {
    Preprocessing {
        size: 224,
        shorter_side: Some(shorter_side),
        interpolation,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    }
}

/// OpenAI's `_transform`, which open_clip kept.
const fn clip(size: usize) -> Preprocessing {
    Preprocessing {
        size,
        shorter_side: Some(size),
        interpolation: Interpolation::Bicubic,
        mean: [0.48145466, 0.4578275, 0.40821073],
        std: [0.26862954, 0.26130258, 0.27577711],
    }
}

/// facenet-pytorch's `fixed_image_standardization`: (x - 127.5) / 128 of a cropped face.
const FACENET: Preprocessing = Preprocessing {
    size: 160,
    shorter_side: None,
    interpolation: Interpolation::Bilinear,
    mean: [0.5; 3],
    std: [128.0 / 255.0; 3],
};

/// InsightFace's aligned faces: (x / 255 - 0.5) / 0.5.
const INSIGHTFACE: Preprocessing = Preprocessing {
    size: 112,
    shorter_side: None,
    interpolation: Interpolation::Bilinear,
    mean: [0.5; 3],
    std: [0.5; 3],
};

const V1: Preprocessing = imagenet(256, Interpolation::Bilinear);
const V2: Preprocessing = imagenet(232, Interpolation::Bilinear);

macro_rules! entries {
    ($($name:literal $file:literal [$($kind:literal),*] $megabytes:literal $preprocessing:expr,
        $source:ident $place:expr, $sha256:expr, $note:expr;)*) => {
        &[$(Entry {
            name: $name,
            kinds: &[$($kind),*],
            source: Source::$source($place),
            file: $file,
            sha256: $sha256,
            megabytes: $megabytes,
            preprocessing: $preprocessing,
            note: $note,
        },)*]
    };
}

const IMAGENET_V1: &str = "ImageNet; IMAGENET1K_V1, what pretrained=True gave";
const IMAGENET_V2: &str = "ImageNet; IMAGENET1K_V2, torchvision's newer recipe";
const QUICK: &str = "needs QuickGELU";
const HUGGING_FACE: &str = "the same weights by Hugging Face's names; needs QuickGELU";
const INSIGHTFACE_ZOO: &str =
    "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch#model-zoo";
const BY_HAND: &str = "non-commercial research; backbone.pth of the model's folder";

/// Everything known, by publisher and size.
pub const ENTRIES: &[Entry] = entries! {
    "facenet-pytorch/casia-webface" "20180408-102900-casia-webface.pt" ["inception_resnet_v1"] 115 FACENET,
        Url "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180408-102900-casia-webface.pt",
        None, "CASIA-WebFace; LFW 0.9905";
    "facenet-pytorch/vggface2" "20180402-114759-vggface2.pt" ["inception_resnet_v1"] 112 FACENET,
        Url "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt",
        None, "VGGFace2; LFW 0.9965";
    "insightface/glint360k-r18" "glint360k_cosface_r18_fp16_0.1.pth" ["iresnet18"] 96 INSIGHTFACE,
        Page INSIGHTFACE_ZOO, None, BY_HAND;
    "insightface/glint360k-r34" "glint360k_cosface_r34_fp16_0.1.pth" ["iresnet34"] 137 INSIGHTFACE,
        Page INSIGHTFACE_ZOO, None, BY_HAND;
    "insightface/glint360k-r50" "glint360k_cosface_r50_fp16_0.1.pth" ["iresnet50"] 174 INSIGHTFACE,
        Page INSIGHTFACE_ZOO, None, BY_HAND;
    "insightface/glint360k-r100" "glint360k_cosface_r100_fp16_0.1.pth" ["iresnet100"] 261 INSIGHTFACE,
        Page INSIGHTFACE_ZOO, None, BY_HAND;
    "insightface/ms1mv3-r18" "ms1mv3_arcface_r18_fp16.pth" ["iresnet18"] 96 INSIGHTFACE,
        Page INSIGHTFACE_ZOO, None, BY_HAND;
    "insightface/ms1mv3-r34" "ms1mv3_arcface_r34_fp16.pth" ["iresnet34"] 137 INSIGHTFACE,
        Page INSIGHTFACE_ZOO, None, BY_HAND;
    "insightface/ms1mv3-r50" "ms1mv3_arcface_r50_fp16.pth" ["iresnet50"] 174 INSIGHTFACE,
        Page INSIGHTFACE_ZOO, None, BY_HAND;
    "insightface/ms1mv3-r100" "ms1mv3_arcface_r100_fp16.pth" ["iresnet100"] 261 INSIGHTFACE,
        Page INSIGHTFACE_ZOO, None, BY_HAND;
    "open_clip/vit-b-16-laion400m-e32" "vit_b_16-laion400m_e32-55e67d44.pt" ["vit_b_16"] 599 clip(224),
        Url "https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights/vit_b_16-laion400m_e32-55e67d44.pt",
        Some("55e67d44"), "plain GELU";
    "open_clip/vit-b-32-laion2b-e16" "vit_b_32-laion2b_e16-af8dbd0c.pth" ["vit_b_32"] 605 clip(224),
        Url "https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights/vit_b_32-laion2b_e16-af8dbd0c.pth",
        Some("af8dbd0c"), "plain GELU";
    "open_clip/vit-b-32-quickgelu-laion400m-e32" "vit_b_32-quickgelu-laion400m_e32-46683a32.pt" ["vit_b_32"] 605 clip(224),
        Url "https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights/vit_b_32-quickgelu-laion400m_e32-46683a32.pt",
        Some("46683a32"), QUICK;
    "open_clip/vit-l-14-laion400m-e32" "vit_l_14-laion400m_e32-3d133497.pt" ["vit_l_14"] 1711 clip(224),
        Url "https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights/vit_l_14-laion400m_e32-3d133497.pt",
        Some("3d133497"), "plain GELU";
    "openai/clip-vit-b-16" "ViT-B-16.pt" ["vit_b_16"] 351 clip(224),
        Url "https://openaipublic.azureedge.net/clip/models/5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f/ViT-B-16.pt",
        Some("5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"), QUICK;
    "openai/clip-vit-b-32" "ViT-B-32.pt" ["vit_b_32"] 354 clip(224),
        Url "https://openaipublic.azureedge.net/clip/models/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
        Some("40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"), QUICK;
    "openai/clip-vit-base-patch16" "clip-vit-base-patch16.bin" ["vit_b_16"] 599 clip(224),
        Url "https://huggingface.co/openai/clip-vit-base-patch16/resolve/main/pytorch_model.bin",
        None, HUGGING_FACE;
    "openai/clip-vit-base-patch32" "clip-vit-base-patch32.bin" ["vit_b_32"] 605 clip(224),
        Url "https://huggingface.co/openai/clip-vit-base-patch32/resolve/main/pytorch_model.bin",
        None, HUGGING_FACE;
    "openai/clip-vit-l-14" "ViT-L-14.pt" ["vit_l_14"] 933 clip(224),
        Url "https://openaipublic.azureedge.net/clip/models/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
        Some("b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"), QUICK;
    "openai/clip-vit-large-patch14" "clip-vit-large-patch14.bin" ["vit_l_14"] 1711 clip(224),
        Url "https://huggingface.co/openai/clip-vit-large-patch14/resolve/main/pytorch_model.bin",
        None, HUGGING_FACE;
    "torchvision/efficientnet_b0" "efficientnet_b0_rwightman-7f5810bc.pth" ["efficientnet_b0"] 21
        imagenet(256, Interpolation::Bicubic),
        Url "https://download.pytorch.org/models/efficientnet_b0_rwightman-7f5810bc.pth",
        Some("7f5810bc"), "ImageNet; IMAGENET1K_V1";
    "torchvision/resnet18" "resnet18-f37072fd.pth" ["resnet18"] 47 V1,
        Url "https://download.pytorch.org/models/resnet18-f37072fd.pth", Some("f37072fd"), IMAGENET_V1;
    "torchvision/resnet34" "resnet34-b627a593.pth" ["resnet34"] 87 V1,
        Url "https://download.pytorch.org/models/resnet34-b627a593.pth", Some("b627a593"), IMAGENET_V1;
    "torchvision/resnet50" "resnet50-0676ba61.pth" ["resnet50"] 103 V1,
        Url "https://download.pytorch.org/models/resnet50-0676ba61.pth", Some("0676ba61"), IMAGENET_V1;
    "torchvision/resnet50-v2" "resnet50-11ad3fa6.pth" ["resnet50"] 103 V2,
        Url "https://download.pytorch.org/models/resnet50-11ad3fa6.pth", Some("11ad3fa6"), IMAGENET_V2;
    "torchvision/resnet101" "resnet101-63fe2227.pth" ["resnet101"] 179 V1,
        Url "https://download.pytorch.org/models/resnet101-63fe2227.pth", Some("63fe2227"), IMAGENET_V1;
    "torchvision/resnet101-v2" "resnet101-cd907fc2.pth" ["resnet101"] 179 V2,
        Url "https://download.pytorch.org/models/resnet101-cd907fc2.pth", Some("cd907fc2"), IMAGENET_V2;
    "torchvision/resnet152" "resnet152-394f9c45.pth" ["resnet152"] 242 V1,
        Url "https://download.pytorch.org/models/resnet152-394f9c45.pth", Some("394f9c45"), IMAGENET_V1;
    "torchvision/resnet152-v2" "resnet152-f82ba261.pth" ["resnet152"] 242 V2,
        Url "https://download.pytorch.org/models/resnet152-f82ba261.pth", Some("f82ba261"), IMAGENET_V2;
};

/// The entry of a name, or of a path that is one.
pub fn find(name: impl AsRef<Path>) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| Path::new(entry.name) == name.as_ref())
}

/// The entry of a name, or of a file that has the name its publisher gave it.
pub fn published(source: &str) -> Option<&'static Entry> {
    let file = Path::new(source).file_name().and_then(|name| name.to_str());
    let named = || ENTRIES.iter().find(|entry| Some(entry.file) == file);
    find(source).or_else(named)
}

/// The names that were probably meant: near in spelling, of the same publisher, or of the same network.
pub fn near(name: &str) -> Vec<&'static str> {
    let (owner, model) = name.split_once('/').unwrap_or(("", name));
    let (owner, model) = (owner.to_lowercase(), model.to_lowercase().replace('_', "-"));
    let distance = |entry: &&'static Entry| {
        let (known_owner, known) = entry.name.split_once('/').unwrap_or_default();
        let known = known.replace('_', "-");
        let spelling = strsim::jaro_winkler(&model, &known);
        let same_owner = strsim::jaro_winkler(&owner, known_owner) > 0.9;
        let likely = spelling > 0.85 || same_owner && spelling > 0.6;
        likely.then_some((1.0 - spelling) - f64::from(u8::from(same_owner)))
    };
    let scored = ENTRIES.iter().filter_map(|entry| Some((distance(&entry)?, entry.name)));
    let mut scored: Vec<(f64, &str)> = scored.collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    scored.into_iter().map(|(_, name)| name).take(4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_files_are_there_once_and_checksums_are_the_names() {
        let names: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        let files: BTreeSet<&str> = ENTRIES.iter().map(|entry| entry.file).collect();
        assert_eq!(files.len(), ENTRIES.len());
        for Entry { name, kinds, source, file, sha256, .. } in ENTRIES {
            assert!(!kinds.is_empty() && name.split('/').count() == 2, "{name}");
            let Source::Url(url) = source else { continue };
            assert!(url.starts_with("https://"), "{name}");
            // Publishers put the checksum into the file's name or into the address.
            let Some(sha256) = sha256 else { continue };
            let hex = sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            assert!(hex && [8, 64].contains(&sha256.len()) && url.contains(sha256), "{name}");
            assert!(url.ends_with(&format!("/{file}")), "{name}");
        }
    }

    #[test]
    fn names_are_found_as_paths_and_near_ones_are_known() {
        assert_eq!(find("torchvision/resnet50").unwrap().sha256, Some("0676ba61"));
        assert!(find("resnet50").is_none() && find("/torchvision/resnet50").is_none());
        assert_eq!(
            near("torchvison/resnet50")[..2],
            ["torchvision/resnet50", "torchvision/resnet50-v2"]
        );
        assert_eq!(near("resnet18").first(), Some(&"torchvision/resnet18"));
        assert!(near("openai/ViT-B-32").contains(&"openai/clip-vit-b-32"));
        assert_eq!(near("weights/my-own-network"), Vec::<&str>::new());
    }
}
