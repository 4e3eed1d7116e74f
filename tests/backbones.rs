//! The backbones of published weights: how many tensors and parameters those have, the layers of
//! `groups.layer_decay`, sizes of images that a network can't take, what its weights start from.

mod common;

use arcrun::backbone::{Backbone, BackboneConfig};
use arcrun::checkpoint::Named;
use arcrun::config::{Experiment, load_str};
use arcrun::data::PreprocessConfig;
use arcrun::plan::conflicts;
use common::{experiment, of_kind};
use std::collections::BTreeSet;
use tch::{Device, Kind, Tensor, nn};
use toml::Table;

fn config(kind: &str, keys: &str) -> BackboneConfig {
    let keys: Table = toml::from_str(keys).unwrap();
    experiment("backbone", &of_kind(kind, keys)).backbone
}

/// A network and its tensors by their published names.
fn build(config: &BackboneConfig) -> (Box<dyn Backbone>, Named) {
    let store = nn::VarStore::new(Device::Cpu);
    let backbone = config.build(&store.root());
    (backbone, store.variables().into_iter().collect())
}

/// What a published file holds.
struct Published {
    kind: &'static str,
    /// With the numbers of batches that PyTorch counts in each batch norm.
    tensors: usize,
    parameters: usize,
    elements: usize,
    norms: usize,
    /// Outputs of the classifier that is in the file and not in ours.
    classes: usize,
}

const fn published(
    kind: &'static str,
    tensors: usize,
    (parameters, elements): (usize, usize),
    norms: usize,
    classes: usize,
) -> Published {
    Published { kind, tensors, parameters, elements, norms, classes }
}

/// torchvision states elements with its weights; InsightFace's are stated in millions: 24.0, 34.1, 43.6,
/// 65.2. iresnet200 is counted by the twin of `tools/parity`.
const PUBLISHED: [Published; 13] = [
    published("resnet18", 122, (62, 11_689_512), 20, 1000),
    published("resnet34", 218, (110, 21_797_672), 36, 1000),
    published("resnet50", 320, (161, 25_557_032), 53, 1000),
    published("resnet101", 626, (314, 44_549_160), 104, 1000),
    published("resnet152", 932, (467, 60_192_808), 155, 1000),
    published("efficientnet_b0", 360, (213, 5_288_548), 49, 1000),
    published("inception_resnet_v1", 714, (378, 23_482_624), 112, 0),
    published("iresnet18", 187, (94, 24_025_600), 31, 0),
    published("iresnet34", 331, (166, 34_139_328), 55, 0),
    published("iresnet50", 475, (238, 43_590_848), 79, 0),
    published("iresnet100", 925, (463, 65_156_160), 154, 0),
    published("iresnet200", 1807, (904, 118_833_920), 301, 0),
    published("mbf", 333, (183, 2_059_520), 50, 0),
];

#[test]
fn tensors_and_parameters_are_as_many_as_published() {
    for Published { kind, tensors, parameters, elements, norms, classes } in PUBLISHED {
        let (backbone, named) = build(&config(kind, ""));
        let of = |end: &str| named.keys().filter(|name| name.ends_with(end)).count();
        assert_eq!(of(".running_mean"), norms, "{kind}: batch norms");
        let weights = named.iter().filter(|(name, _)| !name.contains(".running_"));
        let sizes: Vec<usize> = weights.map(|(_, tensor)| tensor.numel()).collect();
        let (classifier, classifier_elements) = match classes {
            0 => (0, 0),
            _ => (2, (backbone.features() as usize + 1) * classes),
        };
        assert_eq!(sizes.len() + classifier, parameters, "{kind}: parameters");
        let total = sizes.iter().sum::<usize>() + classifier_elements;
        assert_eq!(total, elements, "{kind}: elements");
        assert_eq!(named.len() + norms + classifier, tensors, "{kind}: tensors");
    }
}

/// Every layer has parameters, and every parameter a layer.
#[test]
fn layers_are_stem_blocks_and_end() {
    for (kind, layers, named) in [
        (
            "resnet101",
            34,
            vec![("conv1.weight", 0), ("layer1.0.bn3.bias", 1), ("layer4.2.conv1.weight", 33)],
        ),
        (
            "iresnet50",
            26,
            vec![
                ("conv1.weight", 0),
                ("prelu.weight", 0),
                ("layer1.0.downsample.0.weight", 1),
                ("layer3.13.bn2.weight", 21),
                ("bn2.weight", 25),
                ("features.bias", 25),
            ],
        ),
        (
            "mbf",
            17,
            vec![
                ("layers.1.layers.2.weight", 0),
                ("layers.2.layers.1.layers.0.weight", 1),
                ("layers.3.layers.3.layers.0.layers.0.weight", 5),
                ("layers.6.layers.2.layers.1.bias", 13),
                ("layers.7.layers.1.layers.2.layers.0.weight", 15),
                ("conv_sep.layers.0.weight", 16),
                ("features.layers.2.weight", 16),
            ],
        ),
        (
            "inception_resnet_v1",
            25,
            vec![
                ("conv2d_4b.bn.weight", 0),
                ("repeat_1.4.conv2d.bias", 5),
                ("mixed_6a.branch1.2.conv.weight", 6),
                ("repeat_2.9.branch0.conv.weight", 16),
                ("block8.conv2d.weight", 23),
                ("last_linear.weight", 24),
            ],
        ),
        (
            "efficientnet_b0",
            18,
            vec![
                ("features.0.0.weight", 0),
                ("features.1.0.block.1.fc1.weight", 1),
                ("features.4.2.block.0.0.weight", 8),
                ("features.7.0.block.3.1.bias", 16),
                ("features.8.0.weight", 17),
            ],
        ),
    ] {
        let (backbone, tensors) = build(&config(kind, ""));
        assert_eq!(backbone.layers(), layers, "{kind}");
        for (name, layer) in named {
            assert!(tensors.contains_key(name), "{kind} has no {name}");
            assert_eq!(backbone.layer(name), layer, "{kind}: {name}");
        }
        let found: BTreeSet<usize> = tensors.keys().map(|name| backbone.layer(name)).collect();
        assert_eq!(found, (0..layers).collect(), "{kind}");
    }
}

/// Sizes that are allowed reach the end; the least of a side is 8 pixels.
#[test]
fn every_size_that_is_allowed_works() {
    for (kind, keys, height, width) in [
        ("resnet34", "", 8, 8),
        ("resnet101", "", 8, 33),
        ("efficientnet_b0", "", 8, 9),
        ("inception_resnet_v1", "", 75, 75),
        ("inception_resnet_v1", "", 90, 76),
        ("iresnet18", "grid = [1, 1]", 8, 16),
        ("iresnet18", "grid = [7, 6]", 97, 96),
        ("iresnet34", "grid = [3, 2]\nfeatures = 8", 45, 29),
        ("mbf", "kernel = [1, 2]", 8, 17),
        ("mbf", "kernel = [3, 2]\nfeatures = 8", 45, 29),
    ] {
        let config = config(kind, keys);
        let input = PreprocessConfig { height, width, ..Default::default() };
        assert_eq!(config.validate(&input), [], "{kind} {height} x {width}");
        let (backbone, _) = build(&config);
        let shape = [2, 3, height as i64, width as i64];
        let images = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        for train in [false, true] {
            let features = tch::no_grad(|| backbone.forward(&images, train));
            assert_eq!(features.size(), [2, config.features()], "{kind} {height} x {width}");
        }
    }
}

#[test]
fn sizes_that_the_network_cannot_take_are_refused() {
    let told = |backbone: &str, preprocess: &str| {
        let text = format!(
            "data.kind = 'synthetic_faces'\n[backbone]\n{backbone}\n[preprocess]\n{preprocess}\n"
        );
        let loaded = load_str::<Experiment>("size.toml", &text, &[]).unwrap();
        conflicts(&loaded.experiment)
    };
    for (backbone, preprocess, key, words) in [
        (
            "kind = 'inception_resnet_v1'",
            "height = 74\nwidth = 160",
            "backbone.kind",
            ["at least 75 x 75 pixels", "preprocess.height = 74 and preprocess.width = 160"],
        ),
        (
            "kind = 'iresnet100'",
            "height = 112\nwidth = 96",
            "backbone.grid",
            ["is [7, 7]", "preprocess.height = 112 and preprocess.width = 96 need [7, 6]"],
        ),
        (
            "kind = 'mbf'\nkernel = [6, 7]",
            "height = 112\nwidth = 96",
            "backbone.kernel",
            ["is [6, 7]", "preprocess.height = 112 and preprocess.width = 96 need [7, 6]"],
        ),
    ] {
        let [(found, message)] = &told(backbone, preprocess)[..] else {
            panic!("{backbone}, {preprocess}")
        };
        assert_eq!(found, key);
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    assert_eq!(told("kind = 'inception_resnet_v1'", "height = 160\nwidth = 160"), []);
    assert_eq!(told("kind = 'mbf'", ""), []);
}

/// Standard deviations as the reference implementations draw: He's over the fan-out for convolutions,
/// 0.1 for iresnet's, else PyTorch's uniform within 1 / sqrt(fan-in).
#[test]
fn weights_start_as_in_the_references() {
    let he = |fan_out: f64| (2.0 / fan_out).sqrt();
    let uniform = |fan_in: f64| (1.0 / (3.0 * fan_in)).sqrt();
    for (kind, name, expected) in [
        ("resnet34", "conv1.weight", he(64.0 * 49.0)),
        ("iresnet18", "layer1.0.conv1.weight", 0.1),
        ("iresnet18", "layer4.0.downsample.0.weight", 0.1),
        ("iresnet18", "fc.weight", uniform(25088.0)),
        ("mbf", "layers.1.layers.0.weight", he(128.0 * 9.0)),
        ("mbf", "features.layers.2.weight", he(512.0)),
        ("inception_resnet_v1", "conv2d_2a.conv.weight", uniform(32.0 * 9.0)),
        ("inception_resnet_v1", "repeat_3.0.conv2d.weight", uniform(384.0)),
        ("inception_resnet_v1", "repeat_3.0.conv2d.bias", uniform(384.0)),
        ("inception_resnet_v1", "last_linear.weight", uniform(1792.0)),
        ("efficientnet_b0", "features.8.0.weight", he(1280.0)),
        ("efficientnet_b0", "features.4.0.block.2.fc2.weight", he(240.0)),
        ("efficientnet_b0", "features.4.0.block.2.fc2.bias", 0.0),
    ] {
        tch::manual_seed(3);
        let (_, tensors) = build(&config(kind, ""));
        let tensor = &tensors[name];
        // Of the estimate, for the kind of distribution that spreads it more.
        let error = expected / (2.0 * tensor.numel() as f64).sqrt();
        let found = tensor.std(true).double_value(&[]);
        assert!((found - expected).abs() <= 4.0 * error, "{kind}: {name}: {found} for {expected}");
        let is_norm = |name: &str| {
            let norm = name.rsplit_once('.').map(|(norm, _)| format!("{norm}.running_mean"));
            norm.is_some_and(|norm| tensors.contains_key(&norm))
        };
        for (name, tensor) in tensors.iter().filter(|(name, _)| is_norm(name)) {
            let value = if name.ends_with(".weight") || name.ends_with("_var") { 1.0 } else { 0.0 };
            assert!(tensor.eq(value).all().int64_value(&[]) == 1, "{kind}: {name}");
        }
    }
}

/// iresnet's last scale is stored and not trained; all the rest but running statistics is.
#[test]
fn the_scale_of_the_embedding_is_not_trained() {
    let (_, tensors) = build(&config("iresnet18", ""));
    let fixed = tensors.iter().filter(|(_, tensor)| !tensor.requires_grad());
    let fixed: Vec<&str> =
        fixed.map(|(name, _)| name.as_str()).filter(|name| !name.contains(".running_")).collect();
    assert_eq!(fixed, ["features.weight"]);
}

/// Our files in the libraries, strictly: `tools/parity/check_backbones.py`.
#[test]
fn the_libraries_load_what_we_write() {
    let Some(python) = std::env::var_os("ARCRUN_TEST_TORCH_PYTHON") else {
        eprintln!("skipped: our backbones' files in torchvision and facenet-pytorch");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for kind in [
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "efficientnet_b0",
        "inception_resnet_v1",
    ] {
        tch::manual_seed(3);
        let (backbone, tensors) = build(&config(kind, ""));
        let images = Tensor::randn([2, 3, 96, 96], (Kind::Float, Device::Cpu));
        // Running statistics that are not those of a fresh network.
        let features = tch::no_grad(|| {
            let _ = backbone.forward(&images, true);
            backbone.forward(&images, false)
        });
        let expected = [("images".to_string(), images), ("features".to_string(), features)];
        let write = |name: String, tensors: &Named| {
            let path = folder.path().join(format!("{name}.safetensors"));
            arcrun::checkpoint::write_weights(&path, tensors).unwrap();
        };
        let values = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.detach()));
        write(kind.to_string(), &values.collect());
        write(format!("{kind}.expected"), &expected.into());
    }
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = script.join("tools/parity/check_backbones.py");
    // Its own libtorch, not the one that this test was linked with.
    let mut command = std::process::Command::new(python);
    let output = command.arg(script).arg(folder.path()).env_remove("LD_LIBRARY_PATH").output();
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    eprintln!("{}", text(&output.stdout));
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
