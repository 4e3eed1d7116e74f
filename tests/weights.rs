//! Files of weights that PyTorch and others write (`tools/parity/weights.py`): every value is read as
//! PyTorch reads it, every wrong file is named with what it is and what to do, nothing is executed.

mod common;
mod support;

use arcrun::checkpoint::{Named, shapes, write_weights};
use arcrun::weights::{Fitted, Weights, fit, read};
use common::{read_json, read_tensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::Tiny;
use tch::{Device, Kind, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

#[derive(serde::Deserialize)]
struct Case {
    file: String,
    format: String,
    nesting: Vec<String>,
    tensors: usize,
}

fn cases() -> Vec<Case> {
    read_json("weights/cases.json")
}

fn bits(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

#[test]
fn every_value_is_pytorchs_bit_for_bit() {
    let expected = read_tensors("weights/expected.safetensors");
    let cases = cases();
    assert!(cases.len() >= 17);
    for Case { file, format, nesting, tensors } in &cases {
        let path = fixture("read").join(file);
        let weights = Weights::open(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!((&weights.format.to_string(), &weights.nesting), (format, nesting), "{file}");
        let found = weights.load().unwrap();
        assert_eq!(found.len(), *tensors, "{file}");
        let prefix = format!("{file}:");
        let of_file = expected.iter().filter_map(|(key, x)| Some((key.strip_prefix(&prefix)?, x)));
        let of_file: BTreeMap<&str, &Tensor> = of_file.collect();
        assert_eq!(of_file.len(), *tensors, "{file}");
        for (name, expected) in of_file {
            let tensor = &found[name];
            let form = (tensor.size(), tensor.kind());
            assert_eq!(form, (expected.size(), expected.kind()), "{file}: {name}");
            assert_eq!(bits(tensor), bits(expected), "{file}: {name}");
        }
        // What is described is what is loaded.
        let forms = weights.forms();
        for (name, tensor) in &found {
            assert_eq!((&forms[name].0, forms[name].1.kind), (&tensor.size(), Some(tensor.kind())));
        }
    }
}

#[test]
fn tensors_that_share_a_storage_share_it_here() {
    for file in ["views.pth", "views_legacy.pth"] {
        let tensors = read(&fixture("read").join(file)).unwrap();
        let start = |name: &str| tensors[name].data_ptr() as usize;
        assert_eq!(start("transposed"), start("shared"), "{file}");
        assert_eq!(start("rows"), start("shared") + 6 * 4, "{file}");
        assert_eq!(tensors["expanded"].stride(), [0, 1], "{file}");
    }
}

#[test]
fn what_is_beside_the_weights_is_told() {
    let open = |file: &str| Weights::open(&fixture("read").join(file)).unwrap();
    let twice = open("nested_twice.pt").notices;
    let expected = "the weights under `model.state_dict` are used, not those under `ema` (1)";
    assert!(twice.len() == 1 && twice[0].ends_with(expected), "{twice:?}");
    assert!(open("script.pt").notices[0].contains("its tensors are used, its code is not run"));
    assert_eq!(open("types.safetensors").texts["made"], "by safetensors");
    assert_eq!(open("checkpoint.pth.tar").notices, Vec::<String>::new());
}

#[track_caller]
fn refused(path: &Path, says: &[&str]) {
    let error = read(path).unwrap_err();
    let arcrun::Error::Input { message, help: Some(help) } = &error else { panic!("{error:?}") };
    let told = format!("{message}\n{help}");
    assert!(message.starts_with(&path.display().to_string()), "{told}");
    for part in says {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
}

#[test]
fn code_and_objects_are_refused_by_name() {
    let of = |file: &str, says: &[&str]| refused(&fixture("refused").join(file), says);
    for file in ["code.pt", "code_legacy.pt", "code_beside.pt"] {
        of(file, &["holds code: `posix.system`, which is never executed", "as .safetensors"]);
    }
    assert!(!Path::new("/tmp/arcrun-was-executed").exists());
    let object = "torch.save(MODEL.state_dict(), NEW)";
    of(
        "numpy_inside.pt",
        &["an object of `numpy._core.multiarray._reconstruct`", "as `x`", object],
    );
    of("namespace_inside.pt", &["an object of `argparse.Namespace` among its weights", object]);
    of("model.pt", &["an object of `torch.nn.modules.linear.Linear`, not a state dict", object]);
    of("model_inside.pt", &["`model` is an object of `torch.nn.modules.linear.Linear`", object]);
    of("sparse.pt", &["`torch._utils._rebuild_sparse_tensor`", "as `x`"]);
    of("odd_type.pt", &["tensor x is uint16, which arcrun does not compute with"]);
}

#[test]
fn what_is_no_state_dict_is_described() {
    let of = |file: &str, says: &[&str]| refused(&fixture("refused").join(file), says);
    of("several.pt", &["holds several state dicts: `netG`, `netD`", "torch.load(FILE)[KEY]"]);
    of("list.pt", &["holds a list of 2, not a state dict"]);
    of("nothing.pt", &["holds no tensors, only `epoch`, `loss`"]);
    of("empty.pt", &["holds an empty dict"]);
    of(
        "script_constants.pt",
        &["TorchScript archive without named weights", "constants of its code"],
    );
    of("arrays.pkl", &["is a pickle that torch.save did not write: it holds a dict of 1"]);
    of("arrays.npz", &["archive of NumPy arrays (.npz)", "convert it"]);
}

#[test]
fn what_is_no_file_of_weights_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    let of = |bytes: &[u8], says: &[&str]| {
        std::fs::write(&path, bytes).unwrap();
        refused(&path, says);
    };
    of(b"", &["is empty: it has 0 bytes", "download it again"]);
    of(b"\n<!DOCTYPE html><html>", &["is a web page, not weights", "the file itself"]);
    of(b"<HTML>", &["is a web page"]);
    of(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", &["git-lfs", "git lfs pull"]);
    of(b"\x1f\x8b\x08\0", &["is packed by gzip", "unpack it"]);
    of(b"\x89HDF\r\n\x1a\n", &["HDF5"]);
    of(b"{\"weight_map\": {}}", &["is JSON", "an index"]);
    of(&[0; 600], &["nothing but zeros"]);
    of(b"hello there", &["no file of weights: it begins with hello th"]);
    let mut tar = vec![b'a'; 600];
    tar[257..262].copy_from_slice(b"ustar");
    of(&tar, &["is a tar archive", "unpack it"]);
    of(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", &["is an empty zip archive"]);
    of(b"PK\x03\x04", &["is a zip archive, but its end is missing: it was cut short"]);
    of(b"\xff\0\0\0\0\0\0\0{}", &["its header has 255 bytes, the file 10"]);
    of(b"\x02\0\0\0\0\0\0\0{}", &["holds no tensors"]);
    let overlong = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    of(&[&(overlong.len() as u64).to_le_bytes(), &overlong[..]].concat(), &["ends at byte 8 of 0"]);
    of(b"\x80\x02N.", &["torch.save did not write: it holds None"]);
    of(b"\x80\x02]", &["STOP is missing"]);

    let missing = read(&folder.path().join("none.pth")).unwrap_err();
    assert!(missing.to_string().contains("cannot read") && missing.exit_code() == 2, "{missing}");
    refused(folder.path(), &["is a folder, but no checkpoint", "state a file in it: w.pth"]);
}

/// A wrong byte in the numbers is seen by the archive's checksum.
#[test]
fn damage_is_seen() {
    let bytes = std::fs::read(fixture("read/half.pt")).unwrap();
    let weights = Weights::open(&fixture("read/half.pt")).unwrap();
    let number = bits(&weights.load().unwrap()["conv.weight"]);
    let at = bytes.windows(number.len()).position(|window| window == number).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.pt");
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    refused(&path, &["the checksum of data/0 does not match"]);
}

/// Every cut and every wrong byte of small files is an error or other weights, never a crash or a large
/// allocation; no cut is taken for the whole.
#[test]
fn cuts_and_wrong_bytes_are_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    // A new file each time: some file systems wait for the disk where one is written over.
    let write = |bytes: &[u8]| {
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, bytes).unwrap();
    };
    for file in ["parameters.bin", "protocol4_legacy.pt", "data_parallel.pth", "types.safetensors"]
    {
        let bytes = std::fs::read(fixture("read").join(file)).unwrap();
        for length in 0..bytes.len() {
            write(&bytes[..length]);
            let error = read(&path).expect_err(&format!("{file} cut at {length}"));
            assert_eq!(error.exit_code(), 2, "{error}");
        }
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= [0x01, 0x80, 0xff][at % 3];
            write(&wrong);
            if let Err(error) = read(&path) {
                assert_eq!(error.exit_code(), 2, "{error}");
            }
        }
    }
}

#[test]
fn published_names_fit_a_network() {
    let network: Named = ["conv.weight", "bn.weight", "bn.running_var"]
        .map(|name| {
            let shape: &[i64] = if name == "conv.weight" { &[2, 3, 1, 2] } else { &[2] };
            (name.to_string(), Tensor::zeros(shape, (Kind::Float, Device::Cpu)))
        })
        .into();
    let expected = shapes(&network);
    let plain = read(&fixture("read/parameters.bin")).unwrap();
    let files = [
        "half.pt",
        "data_parallel.pth",
        "nested_twice.pt",
        "checkpoint_legacy.ckpt",
        "classifier.pt",
    ];
    for file in files {
        let path = fixture("read").join(file);
        let Fitted { tensors, notices } = fit(&expected, read(&path).unwrap(), &path).unwrap();
        assert_eq!(notices.len(), usize::from(file == "classifier.pt"), "{file}: {notices:?}");
        for (name, tensor) in &tensors {
            let difference = (tensor.to_kind(Kind::Float) - &plain[name]).abs().max();
            let rounding = if file == "half.pt" { 2e-3 } else { 0.0 };
            assert!(difference.double_value(&[]) <= rounding, "{file}: {name}");
        }
    }
    let path = fixture("read/classifier.pt");
    let notices = fit(&expected, read(&path).unwrap(), &path).unwrap().notices;
    assert!(notices[0].contains("left out fc.bias [5], fc.weight [5, 2]"), "{notices:?}");
    // Where the network itself has a layer of that name, as iresnet's `fc`, it is no classifier: it must fit.
    let own = expected.clone().into_iter().chain([("fc.bias".to_string(), vec![7])]).collect();
    let error = fit(&own, read(&path).unwrap(), &path).unwrap_err().to_string();
    assert!(error.contains("of another shape") && error.contains("fc.bias"), "{error}");
    assert!(error.contains("unexpected") && error.contains("fc.weight"), "{error}");
}

/// A run folder, its checkpoint, a weights-only copy and an export start a backbone alike.
#[test]
fn what_a_run_leaves_starts_another() {
    let tiny = Tiny::new();
    let keep = ["--set", "checkpoint.every_epochs=3"];
    tiny.train("run", &keep);
    tiny.succeed(&["export", "run", "--checkpoint", "latest", "--output", "model.safetensors"]);
    let latest = read(&tiny.path("run/checkpoints/latest")).unwrap();
    for source in ["run", "run/checkpoints/latest", "model.safetensors"] {
        let tensors = read(&tiny.path(source)).unwrap();
        let backbone = tensors.iter().filter(|(name, _)| name.starts_with("backbone."));
        let mut count = 0;
        for (name, tensor) in backbone {
            assert_eq!(bits(tensor), bits(&latest[name]), "{source}: {name}");
            count += 1;
        }
        assert!(count > 20, "{source}");
        let set = format!("backbone.pretrained={source}");
        let said = tiny.succeed(&["check", "tiny.toml", "--set", &set]);
        assert!(
            said.contains("the backbone starts from ") && said.contains("left out head."),
            "{said}"
        );
    }
    let shown = tiny.succeed(&["weights", "show", "run"]);
    assert!(
        shown.contains("run: arcrun checkpoint") && shown.contains("head.linear.weight"),
        "{shown}"
    );
    // A damaged checkpoint is not started from.
    let model = tiny.path("run/checkpoints/latest/model.safetensors");
    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&model, &bytes[..bytes.len() - 1]).unwrap();
    let set = ["--set", "backbone.pretrained=run"];
    tiny.run(&[&["check", "tiny.toml"], &set[..]].concat()).exits(2).says(&["truncated"]);
    // Nor is a run begun that would hide the last one.
    tiny.run(&[&["tiny.toml", "--run-dir", "other"], &set[..]].concat()).exits(2);
    assert!(!tiny.path("other").exists());
}

/// A header of 1152 bytes begins as a pickle does.
#[test]
fn a_header_that_looks_like_a_pickle_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let tensors = |text: &str| -> Named {
        let name = format!("a{text}");
        [(name, Tensor::ones([2], (Kind::Float, Device::Cpu)))].into()
    };
    let mut text = String::new();
    loop {
        write_weights(&path, &tensors(&text)).unwrap();
        if std::fs::read(&path).unwrap()[..2] == [0x80, 4] {
            break;
        }
        text.push('a');
        assert!(text.len() < 2000);
    }
    assert_eq!(read(&path).unwrap().len(), 1);
}

/// Weights of another network: told before training, with what they look like.
#[test]
fn weights_of_another_depth_are_recognised() {
    let tiny = Tiny::new();
    let names: Vec<String> = [3, 4, 6, 3]
        .iter()
        .enumerate()
        .flat_map(|(stage, depth)| {
            (0..*depth).map(move |block| format!("layer{}.{block}.conv1.weight", stage + 1))
        })
        .collect();
    let mut tensors: Named = names
        .into_iter()
        .map(|name| (name, Tensor::zeros([1], (Kind::Float, Device::Cpu))))
        .collect();
    let wide = Tensor::zeros([64, 64, 3, 3], (Kind::Float, Device::Cpu));
    tensors.insert("layer1.0.conv2.weight".into(), wide);
    write_weights(&tiny.path("w.safetensors"), &tensors).unwrap();
    tiny.write(
        "resnet.toml",
        &std::fs::read_to_string(tiny.path("tiny.toml")).unwrap().replace(
            "kind = \"efficient_fr\"\nchannels = [8, 16]\ndepths = [1, 1]",
            "kind = \"resnet18\"",
        ),
    );
    let ended =
        tiny.run(&["check", "resnet.toml", "--set", "backbone.pretrained=w.safetensors"]).exits(2);
    ended.says(&[
        "w.safetensors does not fit the network of 100 tensors: ",
        " missing (bn1.bias, ",
        "8 unexpected (layer1.2.conv1.weight, layer2.2.conv1.weight, layer2.3.conv1.weight, ...)",
        "these look like weights of resnet34",
        "--set backbone.pretrained=none",
    ]);
    let shown = tiny.succeed(&["weights", "show", "w.safetensors"]);
    assert!(shown.contains("looks like resnet34"), "{shown}");
}

#[test]
fn a_file_is_shown() {
    let tiny = Tiny::new();
    let file = fixture("read/checkpoint.pth.tar").display().to_string();
    let shown = tiny.succeed(&["weights", "show", &file]);
    for part in [
        "checkpoint.pth.tar: PyTorch (zip)",
        "under    state_dict",
        "tensors  4 (17 elements)",
        "conv.weight             float32   [2, 3, 1, 2]",
        "bn.num_batches_tracked  int64     []",
        "no backbone that is known by its names",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    tiny.run(&["weights", "show", "nowhere.pth"]).exits(2).says(&["nowhere.pth"]);
}

/// A real network's own file is recognised and fits.
#[test]
fn a_network_is_recognised_by_its_file() {
    let tiny = Tiny::new();
    let text = "data.kind = \"synthetic_faces\"\n[backbone]\nkind = \"resnet18\"\n";
    let experiment =
        arcrun::config::load_str::<arcrun::config::Experiment>("x.toml", text, &[]).unwrap();
    let store = tch::nn::VarStore::new(Device::Cpu);
    let _backbone = experiment.experiment.backbone.build(&store.root());
    let mut tensors: Named =
        store.variables().into_iter().map(|(name, x)| (format!("module.{name}"), x)).collect();
    tensors.insert("module.fc.bias".into(), Tensor::zeros([1000], (Kind::Float, Device::Cpu)));
    write_weights(&tiny.path("w.safetensors"), &tensors).unwrap();
    let shown = tiny.succeed(&["weights", "show", "w.safetensors"]);
    let fits = ["resnet18 (100 of its tensors, under `module.`)", "left out fc.bias [1000]"];
    for part in fits {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
}
