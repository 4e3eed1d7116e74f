//! CLIP's towers, the names of its published weights and its tokenizer against open_clip and Hugging
//! Face's transformers: `tools/parity/clip.py`.

mod common;

use arcrun::backbone::Backbone;
use arcrun::backbone::clip_names::{Form, Towers};
use arcrun::checkpoint::{Named, write_weights};
use arcrun::config::{Request, load_text};
use arcrun::text::{TextConfig, TextTower, tokenizer};
use common::{Comparison, Summary, experiment, fill, of_kind, read_json, read_tensors};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use tch::{Device, Kind, Tensor, nn};
use toml::{Table, Value};

#[derive(Deserialize)]
struct Tiny {
    config: Config,
    #[serde(flatten)]
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Config {
    vision: Table,
    text: Table,
    tokens: Vec<Vec<i64>>,
    images: Vec<i64>,
}

#[derive(Deserialize)]
struct Case {
    library: String,
    activation: String,
    /// [name, shape] of the library's state dict.
    names: Vec<(String, Vec<i64>)>,
    loss: f64,
    gradients: BTreeMap<String, Summary>,
}

fn form(library: &str) -> Form {
    match library {
        "open_clip" => Form::OpenClip,
        "transformers" => Form::HuggingFace,
        other => panic!("{other}"),
    }
}

/// Both towers with their tensors by our names.
struct Model {
    vision: Box<dyn Backbone>,
    vision_tensors: Named,
    text: Box<dyn TextTower>,
    text_tensors: Named,
}

fn vision(kind: &str, keys: Table, precision: Kind) -> (Box<dyn Backbone>, Named) {
    let config = experiment("backbone", &of_kind(kind, keys)).backbone;
    let mut store = nn::VarStore::new(Device::Cpu);
    let tower = config.build(&store.root());
    assert_eq!(tower.features(), config.features());
    store.set_kind(precision);
    (tower, store.variables().into_iter().collect())
}

fn text(keys: Table, precision: Kind) -> (Box<dyn TextTower>, Named) {
    let request = Request { file: "text.toml".into(), sets: Vec::new(), environment: Vec::new() };
    let stated = toml::to_string(&of_kind("clip_text", keys)).unwrap();
    let config: TextConfig = load_text(&request, &stated, "").unwrap().experiment;
    assert!(config.validate().is_empty());
    let mut store = nn::VarStore::new(Device::Cpu);
    let tower = config.build(&store.root()).unwrap();
    assert_eq!(Some(tower.features()), config.features());
    store.set_kind(precision);
    (tower, store.variables().into_iter().collect())
}

fn with(mut keys: Table, key: &str, value: impl Into<Value>) -> Table {
    keys.insert(key.into(), value.into());
    keys
}

impl Model {
    fn tiny(config: &Config, activation: &str, precision: Kind) -> Self {
        let keys = |table: &Table| with(table.clone(), "activation", activation);
        let (vision, vision_tensors) = vision("vit", keys(&config.vision), precision);
        let (text, text_tensors) = text(keys(&config.text), precision);
        Model { vision, vision_tensors, text, text_tensors }
    }

    /// The same storage, and what no tower has.
    fn towers(&self) -> Towers {
        let scale = ("logit_scale".to_owned(), Tensor::from(1.0).to_kind(Kind::Double));
        Towers {
            vision: copy(&self.vision_tensors),
            text: copy(&self.text_tensors),
            shared: Named::from([scale]),
            unknown: Vec::new(),
        }
    }
}

fn copy(tensors: &Named) -> Named {
    tensors.iter().map(|(name, x)| (name.clone(), x.shallow_clone())).collect()
}

fn shapes(tensors: &Named) -> BTreeMap<String, Vec<i64>> {
    tensors.iter().map(|(name, x)| (name.clone(), x.size())).collect()
}

/// Every name on both sides, and values.
fn load(own: &Named, file: &Named) {
    assert_eq!(shapes(own), shapes(file));
    for (name, tensor) in own {
        tch::no_grad(|| tensor.shallow_clone().copy_(&file[name]));
    }
}

/// A file as the library writes it, by formula.
fn file(case: &Case) -> Named {
    case.names.iter().map(|(name, shape)| (name.clone(), fill::parameter(name, shape))).collect()
}

fn tokens(config: &Config) -> Tensor {
    let width = config.tokens[0].len() as i64;
    Tensor::from_slice(&config.tokens.concat()).view([-1, width])
}

/// Of the largest magnitude, in float64.
const FEATURES: f64 = 1e-10;
/// Of a gradient's norm, in float64.
const GRADIENT: f64 = 1e-9;

#[test]
fn weights_of_both_libraries_load_and_compute_the_same() {
    let Tiny { config, cases } = read_json("clip/tiny.json");
    let expected = read_tensors("clip/tiny.safetensors");
    let mut comparison = Comparison::default();
    for (name, case) in &cases {
        let form = form(&case.library);
        let file = file(case);
        assert_eq!(Form::of(&file), Some(form), "{name}");
        let towers = Towers::read(form, &file);
        assert!(towers.unknown.is_empty(), "{name}: {:?}", towers.unknown);
        let model = Model::tiny(&config, &case.activation, Kind::Double);
        load(&model.vision_tensors, &towers.vision);
        load(&model.text_tensors, &towers.text);
        assert_eq!(towers.shared.keys().collect::<Vec<_>>(), ["logit_scale"], "{name}");
        // And back, to the bit.
        let back = towers.write(form);
        assert_eq!(shapes(&back), shapes(&file), "{name}");
        assert!(file.iter().all(|(key, tensor)| back[key].equal(tensor)), "{name}");

        let images = fill::symmetric("input", &config.images).set_requires_grad(true);
        for mode in ["eval", "train"] {
            let image = model.vision.forward(&images, mode == "train");
            let text = model.text.forward(&tokens(&config));
            for (tower, features) in [("image", &image), ("text", &text)] {
                let key = format!("{name}.{mode}.{tower}");
                comparison.tensor(&key, features, &expected[&key], FEATURES);
            }
            if mode == "eval" {
                continue;
            }
            let products = [
                &image * fill::symmetric("cotangent.image", &image.size()),
                &text * fill::symmetric("cotangent.text", &text.size()),
            ];
            let loss = products[0].sum(Kind::Double) + products[1].sum(Kind::Double);
            let value = loss.double_value(&[]);
            comparison.number(&format!("{name}.loss"), value, case.loss, 1.0, FEATURES);
            loss.backward();
        }
        let gradient = |tensors: &Named| -> Named {
            tensors.iter().map(|(name, x)| (name.clone(), x.grad())).collect()
        };
        let mut gradients = Towers {
            vision: gradient(&model.vision_tensors),
            text: gradient(&model.text_tensors),
            ..Default::default()
        }
        .write(form);
        gradients.insert("input".into(), images.grad());
        assert_eq!(
            gradients.keys().collect::<Vec<_>>(),
            case.gradients.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (key, expected) in &case.gradients {
            let name = format!("{name}.grad.{key}");
            // Softmax takes out what the keys' bias adds: zero but for rounding.
            if key.ends_with("k_proj.bias") {
                let largest = gradients[key].abs().max().double_value(&[]);
                comparison.number(&name, largest, 0.0, 1.0, 1e-12);
            } else {
                comparison.summary(&name, &gradients[key], expected, GRADIENT);
            }
        }
    }
    comparison.finish();
    assert_eq!(cases.len(), 4, "cases");
}

#[test]
fn the_libraries_compute_the_same_in_float32() {
    let Tiny { config, cases } = read_json("clip/tiny.json");
    let expected = read_tensors("clip/tiny.safetensors");
    let mut comparison = Comparison::default();
    for (name, case) in &cases {
        let towers = Towers::read(form(&case.library), &file(case));
        let model = Model::tiny(&config, &case.activation, Kind::Float);
        load(&model.vision_tensors, &towers.vision);
        load(&model.text_tensors, &towers.text);
        let images = fill::symmetric("input", &config.images).to_kind(Kind::Float);
        let image = tch::no_grad(|| model.vision.forward(&images, false));
        let text = tch::no_grad(|| model.text.forward(&tokens(&config)));
        for (tower, features) in [("image", &image), ("text", &text)] {
            assert_eq!(features.kind(), Kind::Float);
            let key = format!("{name}.eval.{tower}");
            comparison.tensor(&key, features, &expected[&key], 1e-5);
        }
    }
    comparison.finish();
}

#[test]
fn positions_at_other_sizes_are_open_clips() {
    let Tiny { config, cases } = read_json("clip/tiny.json");
    let expected = read_tensors("clip/tiny.safetensors");
    let file = file(&cases["open_clip.quick_gelu"]);
    let read = || Towers::read(Form::OpenClip, &file);
    let mut comparison = Comparison::default();
    for grid in [2, 3, 5, 7] {
        let mut towers = read();
        assert!(towers.fit_grid(grid).unwrap().contains("from 4 x 4"));
        let key = format!("positions.{grid}");
        comparison.tensor(&key, &towers.vision["positional_embedding"], &expected[&key], 1e-12);
    }
    let keys = with(config.vision.clone(), "activation", "quick_gelu");
    let (tower, own) = vision("vit", with(keys.clone(), "image_size", 24), Kind::Double);
    let mut towers = read();
    towers.fit_grid(3);
    load(&own, &towers.vision);
    let features = tower.forward(&fill::symmetric("input", &[3, 3, 24, 24]), false);
    comparison.tensor("positions.features", &features, &expected["positions.features"], FEATURES);

    let (tower, own) = vision("vit", with(keys, "projection", false), Kind::Double);
    let mut towers = read();
    assert!(towers.vision.remove("proj").is_some());
    load(&own, &towers.vision);
    let features = tower.forward(&fill::symmetric("input", &config.images), false);
    comparison.tensor("class_token", &features, &expected["class_token"], FEATURES);

    // Fewer positions: texts that fit have the same features.
    let keys = with(config.text.clone(), "activation", "quick_gelu");
    let (tower, own) = text(with(keys, "context_length", 4), Kind::Double);
    let mut towers = read();
    assert!(towers.fit_context(4).unwrap().is_some());
    load(&own, &towers.text);
    let features = tower.forward(&tokens(&config).narrow(0, 0, 2).narrow(1, 0, 4));
    let whole = expected["open_clip.quick_gelu.eval.text"].narrow(0, 0, 2);
    comparison.tensor("context", &features, &whole, FEATURES);
    comparison.finish();
}

/// What pins all names and shapes of a file.
#[derive(Debug, Deserialize, PartialEq)]
struct Listing {
    tensors: usize,
    elements: i64,
    sha256: String,
    some: Vec<String>,
}

fn listing(tensors: &Named) -> Listing {
    let line = |(name, tensor): (&String, &Tensor)| {
        let shape: Vec<String> = tensor.size().iter().map(ToString::to_string).collect();
        format!("{name} {}", shape.join(","))
    };
    let mut lines: Vec<String> = tensors.iter().map(line).collect();
    lines.sort();
    let hash = Sha256::digest(lines.join("\n"));
    Listing {
        tensors: lines.len(),
        elements: tensors.values().map(|tensor| tensor.numel() as i64).sum(),
        sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        some: lines.into_iter().step_by(97).collect(),
    }
}

/// Names of the published files, and what ViT-B/32 computes with weights by formula.
#[test]
fn the_published_sizes_have_the_published_names() {
    let names: BTreeMap<String, BTreeMap<String, Listing>> = read_json("clip/names.json");
    for (name, kind, text_keys) in [
        ("ViT-B-32", "vit_b_32", ""),
        ("ViT-B-16", "vit_b_16", ""),
        ("ViT-L-14", "vit_l_14", "width = 768\nheads = 12\nembed_dim = 768"),
    ] {
        let (vision, vision_tensors) = vision(kind, Table::new(), Kind::Float);
        let (text, text_tensors) = text(toml::from_str(text_keys).unwrap(), Kind::Float);
        let model = Model { vision, vision_tensors, text, text_tensors };
        let expected = &names[name];
        let both = model.towers();
        assert_eq!(listing(&both.write(Form::OpenClip)), expected["open_clip"], "{name}");
        let alone = |vision: &Named, text: &Named| {
            let towers = Towers { vision: copy(vision), text: copy(text), ..Default::default() };
            listing(&towers.write(Form::HuggingFace))
        };
        let none = Named::new();
        assert_eq!(alone(&both.vision, &none), expected["transformers_vision"], "{name}");
        assert_eq!(alone(&none, &both.text), expected["transformers_text"], "{name}");
        assert_eq!(model.vision.layers(), if kind == "vit_l_14" { 26 } else { 14 });
        if kind == "vit_b_32" {
            compare_full(&model);
        }
    }
}

fn compare_full(model: &Model) {
    #[derive(Deserialize)]
    struct Full {
        texts: Vec<String>,
    }
    let Full { texts } = read_json("clip/vit_b_32.json");
    let expected = read_tensors("clip/vit_b_32.safetensors");
    for (prefix, tensors) in [("visual.", &model.vision_tensors), ("", &model.text_tensors)] {
        for (name, tensor) in tensors {
            let value = fill::tiled_parameter(&format!("{prefix}{name}"), &tensor.size());
            tch::no_grad(|| tensor.shallow_clone().copy_(&value));
        }
    }
    let images = fill::symmetric("input", &[1, 3, 224, 224]).to_kind(Kind::Float);
    let tokens = tokenizer::tokenize(&texts, 77);
    let mut comparison = Comparison::default();
    tch::no_grad(|| {
        comparison.tensor("image", &model.vision.forward(&images, false), &expected["image"], 1e-4);
        comparison.tensor("text", &model.text.forward(&tokens), &expected["text"], 1e-4);
    });
    comparison.finish();
}

#[test]
fn texts_become_the_tokens_of_open_clip() {
    let rows: Vec<(String, Vec<i64>)> = read_json("clip/tokens.json");
    assert!(rows.len() > 300);
    let texts: Vec<&str> = rows.iter().map(|(text, _)| text.as_str()).collect();
    let tokens = tokenizer::tokenize(&texts, 77);
    let mut wrong = Vec::new();
    for (i, (text, expected)) in rows.iter().enumerate() {
        let mut expected = expected.clone();
        expected.resize(77, 0);
        let ours = Vec::<i64>::try_from(tokens.get(i as i64)).unwrap();
        if ours != expected {
            wrong.push(format!("{text:?}\n  {ours:?}\n  {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Our files in the libraries, strictly: `tools/parity/check_clip.py`.
#[test]
fn the_libraries_load_what_we_write() {
    let Some(python) = std::env::var_os("ARCRUN_TEST_TORCH_PYTHON") else {
        eprintln!("skipped: our CLIP files in open_clip and transformers");
        return;
    };
    let Tiny { config, .. } = read_json("clip/tiny.json");
    let folder = tempfile::tempdir().unwrap();
    let images = fill::symmetric("input", &config.images).to_kind(Kind::Float);
    for activation in ["quick_gelu", "gelu"] {
        tch::manual_seed(1);
        let model = Model::tiny(&config, activation, Kind::Float);
        let features = [model.vision.forward(&images, false), model.text.forward(&tokens(&config))];
        let [image, text] = features.map(|x| x.detach());
        let expected =
            [("images", &images), ("tokens", &tokens(&config)), ("image", &image), ("text", &text)]
                .map(|(name, x)| (name.to_owned(), x.shallow_clone()));
        let write = |name: &str, tensors: &Named| {
            let path = folder.path().join(format!("{activation}.{name}.safetensors"));
            write_weights(&path, tensors).unwrap();
        };
        write("expected", &expected.into());
        let towers = model.towers();
        write("open_clip", &towers.write(Form::OpenClip));
        write("transformers", &towers.write(Form::HuggingFace));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/parity/check_clip.py");
    // Its own libtorch, not the one that this test was linked with.
    let mut command = Command::new(python);
    let output = command.arg(script).arg(folder.path()).env_remove("LD_LIBRARY_PATH").output();
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    eprintln!("{}", text(&output.stdout));
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
