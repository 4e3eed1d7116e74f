//! `run export`: what other programs get is the run's model.

mod support;

use arcrun::checkpoint::{read_with_texts, write_weights};
use arcrun::export::{Format, export};
use arcrun::inference::Model;
use std::path::Path;
use std::process::Command;
use support::Tiny;
use tch::{CModule, Kind, Tensor};

/// Pixels by formula and the embeddings that the run's model gives.
fn expected(model: &Model, images: i64) -> (Tensor, Tensor) {
    let (height, width) = (model.preprocess.height as i64, model.preprocess.width as i64);
    let count = images * 3 * height * width;
    let bytes: Vec<u8> = (0..count).map(|i| (i * i / 7 % 251) as u8).collect();
    let pixels = Tensor::from_slice(&bytes).view([images, 3, height, width]);
    let normal = model.network.normalize(&pixels);
    (pixels, tch::no_grad(|| model.network.embed(&normal, false)))
}

#[track_caller]
fn assert_near(ours: &Tensor, expected: &Tensor) {
    assert_eq!(ours.size(), expected.size());
    let difference = (ours - expected).abs().max().double_value(&[]);
    let scale = expected.abs().max().double_value(&[]);
    assert!(difference <= 1e-5 * scale, "{difference} of {scale}");
}

#[test]
fn both_forms_give_the_runs_embeddings() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "train.epochs=1"]);
    let said = tiny.succeed(&["export", "run", "--output", "out/model.pt"]);
    assert!(said.contains("out/model.pt: min-loss (epoch 1), 32 x 32 pixels to 16"), "{said}");
    tiny.succeed(&["export", "run", "--checkpoint", "latest", "--output", "model.safetensors"]);

    let model = Model::open(&run).unwrap();
    let (pixels, embedding) = expected(&model, 6);
    let module = CModule::load(tiny.path("out/model.pt")).unwrap();
    for batch in [1, 2, 6] {
        let part = pixels.narrow(0, 0, batch);
        let expected = embedding.narrow(0, 0, batch);
        assert_near(&module.forward_ts(&[part.shallow_clone()]).unwrap(), &expected);
        let floats = part.to_kind(Kind::Float);
        assert_near(&module.forward_ts(&[floats.shallow_clone()]).unwrap(), &expected);
        assert!(floats.equal(&part.to_kind(Kind::Float)), "the caller's pixels were changed");
    }

    let (tensors, texts) = read_with_texts(&tiny.path("model.safetensors")).unwrap();
    let own = model.network.tensors();
    assert!(tensors.keys().all(|name| !name.starts_with("loss.")));
    for (name, tensor) in own.iter().filter(|(name, _)| !name.starts_with("loss.")) {
        assert!(tensors[name].equal(tensor), "{name}");
    }
    assert_eq!(texts["arcrun"], env!("CARGO_PKG_VERSION"));
    assert_eq!(texts["label_map"], model.labels.fingerprint);
    assert_eq!((texts["checkpoint"].as_str(), texts["epoch"].as_str()), ("latest", "1"));
    let json = |name: &str| serde_json::from_str::<serde_json::Value>(&texts[name]).unwrap();
    assert_eq!(json("preprocess")["height"], 32);
    assert_eq!(json("backbone")["kind"], "efficient_fr");
    assert_eq!(json("head")["embedding_dim"], 16);

    // An exported file is what `backbone.pretrained` takes.
    tiny.succeed(&["check", "tiny.toml", "--set", "backbone.pretrained=model.safetensors"]);
    for folder in [tiny.path("out"), tiny.path("")] {
        let leftover = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().starts_with(".tmp-")
        };
        assert!(!std::fs::read_dir(folder).unwrap().any(leftover));
    }
    python(&tiny, &pixels, &embedding);
}

/// The same in PyTorch: `tools/parity/check_export.py`.
fn python(tiny: &Tiny, pixels: &Tensor, embedding: &Tensor) {
    let Some(python) = std::env::var_os("ARCRUN_TEST_TORCH_PYTHON") else {
        eprintln!(
            "skipped: exports in PyTorch (ARCRUN_TEST_TORCH_PYTHON names no Python with torch)"
        );
        return;
    };
    let file = tiny.path("expected.safetensors");
    let tensors = [("pixels", pixels), ("embedding", embedding)];
    let tensors = tensors.map(|(name, tensor)| (name.to_string(), tensor.shallow_clone()));
    write_weights(&file, &tensors.into()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/parity/check_export.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg(tiny.path("out/model.pt"))
        .arg(tiny.path("model.safetensors"))
        .arg(file);
    // Its own libtorch, not the one that this test was linked with.
    let output = command.env_remove("LD_LIBRARY_PATH").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    eprintln!("{}", text(&output.stdout));
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn what_cant_be_exported_is_refused() {
    let tiny = Tiny::new();
    let told = ["model.onnx: unknown form", ".safetensors", ".pt"];
    tiny.run(&["export", "run", "--output", "model.onnx"]).exits(2).says(&told);
    tiny.run(&["export", "run", "--output", "model.pt"]).exits(2).says(&["run is not there"]);
    tiny.train("run", &["--set", "train.epochs=1"]);
    let args = ["export", "run", "--checkpoint", "7", "--output", "model.pt"];
    tiny.run(&args).exits(2).says(&["epoch-0007"]);
    std::fs::create_dir(tiny.path("folder.pt")).unwrap();
    tiny.run(&["export", "run", "--output", "folder.pt"]).exits(2).says(&["is a folder"]);
    assert!(!tiny.path("model.pt").exists() && !tiny.path("model.onnx").exists());
    assert_eq!(Format::of(Path::new("a/b.pt")).unwrap(), Format::TorchScript);
}

/// A module is traced at one batch size for each network; all of them take any other.
#[test]
fn every_backbone_can_be_traced() {
    let kinds = [
        ("embedding_2d", "backbone.batch_norm=true"),
        ("mobilefacenet", "backbone.kernel=[2, 2]"),
        ("resnet18", "head.batch_norm=true"),
        ("vit", "backbone.image_size=32"),
    ];
    for (kind, set) in kinds {
        let tiny = Tiny::new();
        let kind = format!("backbone.kind={kind}");
        let more =
            ["--set", &kind, "--set", set, "--set", "train.epochs=1", "--set", "train.max_steps=1"];
        let run = tiny.train("run", &more);
        // Written only after it gave the model's embeddings for batches of 1, 3 and 8.
        export(&Model::open(&run).unwrap(), &tiny.path("model.pt")).unwrap();
    }
}
