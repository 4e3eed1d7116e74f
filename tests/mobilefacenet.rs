//! MobileFaceNet with published weights and real faces. Skipped, aloud, where they are not there.

mod common;
mod support;

use arcrun::config::{Experiment, Loaded, Request, load};
use arcrun::data::{Draw, Renderer};
use arcrun::evaluate::{Detail, EvaluationSet, score};
use arcrun::plan::{Plan, conflicts};
use arcrun::record::Verbosity;
use arcrun::train::evaluation::Scored;
use arcrun::train::model::Model;
use arcrun::train::pretrained;
use arcrun::train::session::prepare_evaluation;
use arcrun::train::signals::StopFlag;
use common::read_json;
use serde_json::Value;
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
    pretrained::load(&model, &plan.experiment).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("first.jpg");
    std::fs::write(&image, first_jpeg(&std::fs::read(pairs).unwrap())).unwrap();
    let preprocess = plan.experiment.preprocess.build();
    let mut pixels = vec![0; 3 * 112 * 96];
    let rendered =
        Renderer::default().render(&image.clone().into(), &preprocess, &Draw::NONE, &mut pixels);
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

/// LFW's protocol on 400 of its pairs, images and weights to scores, in all flip modes: the numbers that
/// the original network gives, fold by fold.
#[test]
fn published_weights_give_the_published_scores() {
    let Some((weights, pairs)) = data() else { return };
    let reference: Value = read_json("evaluate/mobilefacenet_lfw400.json");
    for (flip, accuracy, std, eighth, thresholds, far, auc, eer) in [
        ("none", 0.9925, "1.146", 0.975, (1.30, 1.38), 0.010, 0.999875, 0.005),
        ("sum", 0.9925, "1.146", 0.975, (1.26, 1.24), 0.005, 0.999825, 0.010),
        ("concat", 0.99, "1.658", 0.95, (1.27, 1.26), 0.005, 0.999825, 0.010),
    ] {
        let sets = [
            format!("backbone.pretrained={}", weights.display()),
            format!("evaluate.flip={flip}"),
            "evaluate.sets.lfw.kind=bin".to_string(),
            format!("evaluate.sets.lfw.path={}", pairs.display()),
            "train.device=cpu".to_string(),
        ];
        let plan = Plan::new(experiment(&sets.each_ref().map(String::as_str))).unwrap();
        let (evaluation, _) =
            prepare_evaluation(&plan, Verbosity::Quiet, &StopFlag::default()).unwrap();
        let model = Model::build(&plan.experiment, 1, plan.device);
        pretrained::load(&model, &plan.experiment).unwrap();
        let scored = evaluation.run(&model, "pretrained", 0, &StopFlag::default()).unwrap();
        let [Scored { detail: Detail::Distances(distances), .. }] = &scored[..] else { panic!() };
        let EvaluationSet::Pairs(set) = &evaluation.sets[0].1 else { panic!() };
        let mut largest = 0.0f64;
        for (ours, expected) in distances.iter().zip(reference[flip].as_array().unwrap()) {
            largest = largest.max((ours - expected.as_f64().unwrap()).abs());
        }
        eprintln!("{flip}: {} distances, the largest difference {largest:.1e}", distances.len());
        assert!(distances.len() == 400 && largest < 1e-5, "{flip}: {largest:e}");

        let result = score(distances, set).unwrap();
        let close = |ours: f64, expected: f64, what: &str| {
            assert!((ours - expected).abs() < 1e-9, "{flip}: {what} is {ours} for {expected}");
        };
        let folds = &result.accuracy;
        close(folds.over_folds.mean, accuracy, "accuracy");
        assert_eq!(format!("{:.3}", 100.0 * folds.over_folds.std), std, "{flip}");
        let per_fold = [1.0, 1.0, 1.0, 0.975, 1.0, 1.0, 0.975, eighth, 1.0, 1.0];
        assert_eq!(folds.per_fold, per_fold, "{flip}");
        for (fold, &threshold) in folds.thresholds.iter().enumerate() {
            close(threshold, if fold == 7 { thresholds.1 } else { thresholds.0 }, "threshold");
        }
        let val = &result.val_at_far[0];
        close(val.val.mean, 0.990, "val");
        close(val.val.std, 0.020, "std of val");
        close(val.far.mean, far, "far");
        close(result.auc, auc, "auc");
        close(result.eer, eer, "eer");
        let one_percent = result.tar_at_far.iter().find(|tar| tar.far == 1e-2).unwrap();
        close(one_percent.tar, 0.995, "tar@far=1e-2");
    }
}

/// The same by the program, which needs neither training data nor a run.
#[test]
fn run_eval_scores_published_weights() {
    let Some((weights, pairs)) = data() else { return };
    let tiny = Tiny::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE).display().to_string();
    let pretrained = format!("backbone.pretrained={}", weights.display());
    let path = format!("evaluate.sets.lfw.path={}", pairs.display());
    let sets = [pretrained.as_str(), "evaluate.sets.lfw.kind=bin", &path, "evaluate.flip=concat"];
    let mut args = vec!["eval", &file, "--device", "cpu", "--output", "eval.csv"];
    args.extend(sets.into_iter().flat_map(|set| ["--set", set]));
    let said = tiny.succeed(&args);
    assert!(said.contains("lfw, pretrained") && said.contains("0.9900 +- 0.0166"), "{said}");
    let rows = support::csv(&tiny.path("eval.csv"));
    let accuracy = rows.iter().find(|row| row[3] == "accuracy").unwrap();
    assert_eq!([&accuracy[1], &accuracy[2]], ["pretrained", "lfw"]);
    assert!((accuracy[4].parse::<f64>().unwrap() - 0.99).abs() < 1e-9, "{accuracy:?}");
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
