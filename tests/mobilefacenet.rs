//! MobileFaceNet with published weights and real faces. Skipped, aloud, where they are not there.

mod support;

use arcrun::config::{Experiment, Loaded, Request, load};
use arcrun::data::{Draw, Renderer};
use arcrun::plan::{Plan, conflicts};
use arcrun::train::model::Model;
use arcrun::train::pretrained;
use std::path::{Path, PathBuf};
use support::Tiny;
use tch::{Device, Kind, Tensor};

const FILE: &str = "experiments/mobilefacenet.toml";

/// `ARCRUN_TEST_DATA` or `../shared/data`: the weights and the pairs of LFW.
fn data() -> Option<(PathBuf, PathBuf)> {
    let root = std::env::var_os("ARCRUN_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let weights = root.join("weights/mobilefacenet_xiaoccer_068.safetensors");
    let pairs = root.join("lfw/lfw_400pairs.bin");
    if weights.is_file() && pairs.is_file() {
        return Some((weights, pairs));
    }
    eprintln!("skipped: no {} and {} (set ARCRUN_TEST_DATA)", weights.display(), pairs.display());
    None
}

fn request(sets: &[&str]) -> Request {
    let sets = sets.iter().map(ToString::to_string).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    Request { file, sets, environment: Vec::new() }
}

fn experiment(sets: &[&str]) -> Loaded {
    load::<Experiment>(&request(sets)).unwrap_or_else(|e| panic!("{e}"))
}

/// The first JPEG of a file, from the start-of-image marker to the end-of-image marker.
fn first_jpeg(bytes: &[u8]) -> &[u8] {
    let find = |from: usize, marker: &[u8]| {
        from + bytes[from..].windows(marker.len()).position(|window| window == marker).unwrap()
    };
    let start = find(0, &[0xff, 0xd8, 0xff]);
    &bytes[start..find(start, &[0xff, 0xd9]) + 2]
}

#[test]
fn published_weights_give_the_published_embedding() {
    let Some((weights, pairs)) = data() else { return };
    let set = format!("backbone.pretrained={}", weights.display());
    let plan = Plan::new(experiment(&[&set, "train.device=cpu"])).unwrap();
    let model = Model::build(&plan.experiment, 2, Device::Cpu);
    pretrained::load(&model, plan.experiment.backbone.common().0).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("first.jpg");
    std::fs::write(&image, first_jpeg(&std::fs::read(pairs).unwrap())).unwrap();
    let preprocess = plan.experiment.preprocess.build();
    let mut pixels = vec![0; 3 * 112 * 96];
    let rendered = Renderer::default().render(&image, &preprocess, &Draw::NONE, &mut pixels);
    assert!(rendered.is_ok());
    let pixels = Tensor::from_slice(&pixels).view([1, 3, 112, 96]);
    let embedding = tch::no_grad(|| model.embed(&model.normalize(&pixels), false));
    assert_eq!(embedding.size(), [1, 128]);
    for (at, expected) in [0.28461, -0.46751, -0.94006, 0.50408, 0.82565].into_iter().enumerate() {
        let ours = embedding.double_value(&[0, at as i64]);
        assert!((ours - expected).abs() < 1e-5, "[{at}] is {ours} for {expected}");
    }
    // The reference states four decimals.
    let norm = embedding.norm().double_value(&[]);
    assert!((norm - 5.3311).abs() < 1e-4, "norm {norm}");
}

#[test]
fn an_input_of_another_size_is_refused() {
    let of = |sets: &[&str]| conflicts(&experiment(sets).experiment);
    assert_eq!(of(&[]), []);
    assert_eq!(of(&["preprocess.width=112", "backbone.kernel=[7, 7]"]), []);
    let [(key, message)] = &of(&["preprocess.width=112"])[..] else { panic!() };
    assert_eq!(key, "backbone.kernel");
    assert!(message.contains("is [7, 6]") && message.contains("need [7, 7]"), "{message}");
    // Every size that the kernel is right for reaches the end.
    for (height, width, kernel) in [(97, 81, "[7, 6]"), (112, 96, "[7, 6]"), (45, 29, "[3, 2]")] {
        let set = [
            format!("preprocess.height={height}"),
            format!("preprocess.width={width}"),
            format!("backbone.kernel={kernel}"),
            "backbone.pretrained=none".to_string(),
        ];
        let experiment = experiment(&set.each_ref().map(String::as_str)).experiment;
        assert_eq!(conflicts(&experiment), []);
        let model = Model::build(&experiment, 2, Device::Cpu);
        let images = Tensor::zeros([1, 3, height, width], (Kind::Float, Device::Cpu));
        assert_eq!(tch::no_grad(|| model.embed(&images, false)).size(), [1, 128]);
    }
}

#[test]
fn without_a_projection_the_features_are_the_embedding() {
    let of = |sets: &[&str]| conflicts(&experiment(sets).experiment);
    let [(key, message)] = &of(&["head.embedding_dim=512"])[..] else { panic!() };
    assert_eq!(key, "head.embedding_dim");
    assert!(message.contains("is 512") && message.contains("the 128 features"), "{message}");
    assert_eq!(of(&["head.embedding_dim=512", "head.projection=linear"]), []);
    assert_eq!(of(&["head.embedding_dim=64", "backbone.features=64"]), []);
}

/// Every layer of `groups.layer_decay`: the stem, fifteen blocks, what follows them.
#[test]
fn layers_are_stem_blocks_and_end() {
    let store = tch::nn::VarStore::new(Device::Cpu);
    let backbone = experiment(&[]).experiment.backbone.build(&store.root());
    assert_eq!(backbone.layers(), 17);
    let layer = |name: &str| backbone.layer(name);
    assert_eq!([layer("conv1.conv.weight"), layer("dw_conv1.prelu.weight")], [0, 0]);
    assert_eq!([layer("blocks.0.conv.0.weight"), layer("blocks.14.conv.7.bias")], [1, 15]);
    let ends = ["conv2.conv.weight", "linear7.bn.weight", "linear1.conv.weight"].map(layer);
    assert_eq!(ends, [16, 16, 16]);
}

#[test]
fn missing_weights_are_told_with_their_place() {
    let tiny = Tiny::new();
    tiny.write(
        "mobile.toml",
        "base = \"tiny.toml\"\n[backbone]\nkind = \"mobilefacenet\"\nkernel = [2, 2]\n\
         pretrained = \"weights/mine.safetensors\"\n",
    );
    let place = tiny.path("weights/mine.safetensors").display().to_string();
    let told = [place.as_str(), "put the weights there", "--set backbone.pretrained=none"];
    tiny.run(&["mobile.toml", "--run-dir", "run"]).exits(2).says(&told);
    assert!(tiny.is_untouched() && !tiny.path("run").exists());
    tiny.run(&["check", "mobile.toml"]).exits(2).says(&told);
    tiny.succeed(&["check", "mobile.toml", "--set", "backbone.pretrained=none"]);
}

#[test]
fn a_model_with_nothing_to_train_is_refused() {
    let tiny = Tiny::new();
    let frozen = "base = \"tiny.toml\"\n[backbone]\nkind = \"mobilefacenet\"\nkernel = [2, 2]\n\
                  features = 16\nfrozen = true\n[head]\nprojection = \"none\"\n\
                  [loss]\nkind = \"supcon\"\n[sampler]\nkind = \"pk\"\nimages_per_identity = 2\n";
    tiny.write("frozen.toml", frozen);
    let told = ["`backbone.frozen` leaves no parameter to train", "frozen.toml"];
    tiny.run(&["check", "frozen.toml"]).exits(2).says(&told);
    tiny.run(&["frozen.toml", "--run-dir", "run"]).exits(2).says(&told);
    assert!(!tiny.path("run").exists());
}
