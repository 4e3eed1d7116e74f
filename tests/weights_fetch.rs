//! Published weights by name: downloaded, resumed, checked, and told exactly where there is no way to
//! them. The server is on 127.0.0.1.

mod support;
mod weights_server;

use arcrun::checkpoint::{Named, write_weights};
use arcrun::train::signals::StopFlag;
use arcrun::weights::fetch::{Cache, Cached};
use arcrun::weights::registry::{self, Entry, Source};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use support::{Ended, Tiny};
use tch::{Device, Kind, Tensor, nn};
use weights_server::{Act, Server};

/// Not multiples of anything, and more than a network's buffers hold at a time.
fn content() -> Vec<u8> {
    (0..700_001u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// An entry with the checksum of [`content`], or the first digits of it.
fn entry(digits: usize) -> Entry {
    let sum: String = Sha256::digest(content()).iter().map(|byte| format!("{byte:02x}")).collect();
    let sha256: &'static str = sum.leak();
    Entry {
        name: "nobody/net",
        source: Source::Url("https://nowhere.invalid/net-0.pth"),
        file: "net-0.pth",
        sha256: Some(&sha256[..digits]),
        ..*registry::find("torchvision/resnet18").unwrap()
    }
}

struct Place {
    folder: tempfile::TempDir,
    server: Server,
}

impl Place {
    fn new(files: &[(&str, &[u8])], script: &[Act]) -> Place {
        Place { folder: tempfile::tempdir().unwrap(), server: Server::start(files, script) }
    }

    fn cache(&self) -> Cache {
        let folder = self.folder.path().join("weights");
        Cache { folder, mirror: Some(self.server.url.clone()) }
    }

    fn fetch(&self, entry: &Entry) -> arcrun::Result<PathBuf> {
        self.cache().fetch(entry, true, &StopFlag::default())
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("weights/net-0.pth.part")
    }

    /// It came whole, under its name, and nothing is left beside it.
    fn assert_whole(&self, entry: &Entry) {
        let path = self.fetch(entry).unwrap();
        assert_eq!(path, self.folder.path().join("weights/net-0.pth"));
        assert!(std::fs::read(&path).unwrap() == content());
        assert!(!self.part().exists());
    }
}

#[test]
fn a_file_is_fetched_once() {
    for digits in [8, 64] {
        let entry = entry(digits);
        let place = Place::new(&[("net-0.pth", &content())], &[]);
        assert_eq!(place.cache().look(&entry).unwrap(), Cached::Absent);
        place.assert_whole(&entry);
        assert_eq!(place.cache().look(&entry).unwrap(), Cached::Fits);
        place.assert_whole(&entry);
        assert_eq!(place.server.paths(), ["/weights/net-0.pth"]);
    }
}

#[test]
fn a_cut_is_resumed_where_it_happened() {
    let entry = entry(8);
    // Within one call: each attempt brings something, so there may be many.
    let cuts = [1000, 200_000, 1, 70_000].map(Act::Cut);
    let place = Place::new(&[("net-0.pth", &content())], &cuts);
    place.assert_whole(&entry);
    let at = |from: usize| Some(format!("bytes={from}-"));
    let expected = [None, at(1000), at(201_000), at(201_001), at(271_001)];
    assert_eq!(place.server.ranges(), expected);

    // In another call.
    let place = Place::new(&[("net-0.pth", &content())], &[]);
    std::fs::create_dir_all(place.part().parent().unwrap()).unwrap();
    std::fs::write(place.part(), &content()[..5000]).unwrap();
    place.assert_whole(&entry);
    assert_eq!(place.server.ranges(), [at(5000)]);

    // All of it was there but for its name.
    let place = Place::new(&[("net-0.pth", &content())], &[]);
    std::fs::create_dir_all(place.part().parent().unwrap()).unwrap();
    std::fs::write(place.part(), content()).unwrap();
    place.assert_whole(&entry);

    // A server that knows no ranges, and a part that is longer than the file.
    for (script, longer) in [(&[Act::Whole][..], 0), (&[], 10)] {
        let place = Place::new(&[("net-0.pth", &content())], script);
        std::fs::create_dir_all(place.part().parent().unwrap()).unwrap();
        let length = if longer > 0 { content().len() + longer } else { 5000 };
        std::fs::write(place.part(), vec![b'x'; length]).unwrap();
        place.assert_whole(&entry);
    }
}

#[test]
fn attempts_that_bring_nothing_end_and_keep_the_part() {
    let entry = entry(8);
    let script = [Act::Cut(1000), Act::Code(503), Act::Code(503), Act::Code(503)];
    let place = Place::new(&[("net-0.pth", &content())], &script);
    let error = place.fetch(&entry).unwrap_err();
    let told =
        ["503 Service Unavailable", "the next time goes on from there", "/weights/net-0.pth"];
    for part in told {
        assert!(error.to_string().contains(part), "no {part:?} in {error}");
    }
    assert_eq!(std::fs::read(place.part()).unwrap(), content()[..1000]);
    assert!(place.server.ranges().len() <= 4);
}

#[test]
fn a_wrong_checksum_is_removed() {
    let entry = entry(64);
    let mut other = content();
    other[300_000] ^= 1;
    let place = Place::new(&[("net-0.pth", &other)], &[]);
    let error = place.fetch(&entry).unwrap_err();
    let told = ["is not `nobody/net`: its SHA-256 is ", entry.sha256.unwrap(), "it was removed"];
    for part in told {
        assert!(error.to_string().contains(part), "no {part:?} in {error}");
    }
    assert!(!place.part().exists() && !place.folder.path().join("weights/net-0.pth").exists());

    // A file under the name that is another is fetched anew, and stays where that fails.
    let place = Place::new(&[("net-0.pth", &content())], &[Act::Code(404)]);
    let path = place.folder.path().join("weights/net-0.pth");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, &other).unwrap();
    assert!(matches!(place.cache().look(&entry).unwrap(), Cached::Differs(_)));
    let error = place.fetch(&entry).unwrap_err().to_string();
    assert!(
        error.contains("404 Not Found") && error.contains("is there with the SHA-256"),
        "{error}"
    );
    assert!(std::fs::read(&path).unwrap() == other);
    place.assert_whole(&entry);
}

#[test]
fn a_page_instead_of_weights_is_seen_without_a_checksum() {
    let entry = Entry { sha256: None, ..entry(8) };
    let place = Place::new(&[("net-0.pth", b"<!DOCTYPE html><p>log in")], &[]);
    let error = place.fetch(&entry).unwrap_err().to_string();
    assert!(error.contains("is a web page, not weights") && error.contains("removed"), "{error}");
    assert!(!place.part().exists());
}

#[test]
fn a_stop_leaves_the_part() {
    let entry = entry(8);
    let place = Place::new(&[("net-0.pth", &content())], &[Act::Cut(1000)]);
    let stop = StopFlag::default();
    stop.ask("a test");
    let error = place.cache().fetch(&entry, true, &stop).unwrap_err();
    assert_eq!(error.exit_code(), 75, "{error}");
}

/// Two processes want the same file: one brings it.
#[test]
fn a_file_is_fetched_by_one() {
    let entry = entry(8);
    let place = Place::new(&[("net-0.pth", &content())], &[Act::Cut(10)]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| place.fetch(&entry).unwrap());
        }
    });
    place.assert_whole(&entry);
    assert_eq!(place.server.ranges(), [None, Some("bytes=10-".into())]);
}

fn with(tiny: &Tiny, mirror: &str, args: &[&str]) -> Ended {
    let mut command = tiny.command(args);
    command.env("ARCRUN_WEIGHTS", tiny.path("cache")).env("ARCRUN_WEIGHTS_MIRROR", mirror);
    Ended::of(&mut command)
}

const TOWER: &str = "kind = \"vit\"\nwidth = 16\nlayers = 1\nheads = 2\npatch_size = 8\nimage_size = 32\nembed_dim = 12";

/// A small CLIP as a trainer in PyTorch saves it, at random: its visual tower for 48 x 48 pixels.
fn clip() -> Named {
    let tower = TOWER.replace("image_size = 32", "image_size = 48");
    let text = format!("data.kind = \"synthetic_faces\"\n[backbone]\n{tower}\n");
    let loaded =
        arcrun::config::load_str::<arcrun::config::Experiment>("x.toml", &text, &[]).unwrap();
    let store = nn::VarStore::new(Device::Cpu);
    let _backbone = loaded.experiment.backbone.build(&store.root());
    let wrapped = |(name, tensor)| (format!("module.visual.{name}"), tensor);
    let mut tensors: Named = store.variables().into_iter().map(wrapped).collect();
    let scale = Tensor::ones([1], (Kind::Float, Device::Cpu));
    tensors.insert("module.logit_scale".into(), scale);
    tensors
}

/// An experiment names published weights: they come once, the run says what it started from, and its
/// resolved configuration keeps the name.
#[test]
fn an_experiment_names_published_weights() {
    let tiny = Tiny::new();
    // Hugging Face's have no checksum, so that other weights can stand in for them.
    let entry = registry::find("openai/clip-vit-base-patch32").unwrap();
    let path = tiny.path("w.safetensors");
    write_weights(&path, &clip()).unwrap();
    let server = Server::start(&[(entry.file, &std::fs::read(&path).unwrap())], &[]);
    let own = "kind = \"efficient_fr\"\nchannels = [8, 16]\ndepths = [1, 1]";
    let tower = format!("{TOWER}\npretrained = \"openai/clip-vit-base-patch32\"");
    let text = std::fs::read_to_string(tiny.path("tiny.toml")).unwrap();
    tiny.write("tower.toml", &text.replace(own, &tower));
    let once = ["tower.toml", "--run-dir", "run", "--set", "train.max_steps=1"];
    let ended = with(&tiny, &server.url, &once).exits(0);
    ended.says(&[
        "fetching openai/clip-vit-base-patch32 (605 MB) from http://127.0.0.1",
        "the backbone starts from openai/clip-vit-base-patch32 (20 tensors)",
        "was trained on 224x224",
        "this experiment states 32x32, resize \"stretch\"",
    ]);
    let config = std::fs::read_to_string(tiny.path("run/config.toml")).unwrap();
    assert!(config.contains("pretrained = \"openai/clip-vit-base-patch32\""), "{config}");
    // What the tensors' names don't tell comes with the name.
    assert!(config.contains("activation = \"quick_gelu\""), "{config}");
    assert!(config.contains("interpolation = \"bicubic\""), "{config}");
    let log = std::fs::read_to_string(tiny.path("run/log.txt")).unwrap();
    assert!(log.contains("the backbone starts from openai/clip-vit-base-patch32"), "{log}");
    assert_eq!(server.paths().len(), 1);
    // From the cache, without a server.
    with(&tiny, "http://127.0.0.1:1", &["check", "tower.toml"]).exits(0);
    let listed = with(&tiny, &server.url, &["weights"]).exits(0).stdout;
    let line =
        listed.lines().find(|line| line.starts_with("openai/clip-vit-base-patch32")).unwrap();
    assert!(line.contains("vit_b_32") && line.contains("605 MB  cached"), "{line}");
}

/// Offline: which file, from where, to where, and how to do without.
#[test]
fn offline_says_which_file_belongs_where() {
    let tiny = Tiny::new();
    let place = tiny.path("cache/resnet50-0676ba61.pth").display().to_string();
    let told = [
        "`torchvision/resnet50` can't be fetched from http://127.0.0.1:1/resnet50-0676ba61.pth",
        "no connection",
        "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        place.as_str(),
        "--set backbone.pretrained=none",
    ];
    let offline = "http://127.0.0.1:1";
    let set = "backbone.pretrained=torchvision/resnet50";
    let kind = "backbone={kind=\"resnet50\"}";
    let args = ["tiny.toml", "--set", kind, "--set", set, "--run-dir", "run"];
    with(&tiny, offline, &args).exits(2).says(&told);
    // Of another network: nothing is asked for.
    let args = ["tiny.toml", "--set", set, "--run-dir", "run"];
    let other = "`backbone.pretrained` is \"torchvision/resnet50\", weights of resnet50";
    with(&tiny, offline, &args).exits(2).says(&[other]);
    assert!(tiny.is_untouched() && !tiny.path("run").exists());
    with(&tiny, offline, &["weights", "fetch", "torchvision/resnet50"]).exits(2).says(&told);

    // No address serves it: the page, and the place.
    let mut by_hand = tiny.command(&["weights", "fetch", "insightface/ms1mv3-r50"]);
    by_hand.env("ARCRUN_WEIGHTS", tiny.path("cache"));
    let place = tiny.path("cache/ms1mv3_arcface_r50_fp16.pth").display().to_string();
    let told = ["no address serves it", "arcface_torch#model-zoo", place.as_str()];
    Ended::of(&mut by_hand).exits(2).says(&told);
}

#[test]
fn unknown_names_have_near_ones() {
    let tiny = Tiny::new();
    let set = "backbone.pretrained=torchvision/resnet51";
    let near = "did you mean torchvision/resnet";
    tiny.run(&["tiny.toml", "--set", set]).exits(2).says(&["there is no file ", near, "=none"]);
    tiny.run(&["weights", "fetch", "torchvison/resnet50"])
        .exits(2)
        .says(&["no published weights named torchvison/resnet50", "torchvision/resnet50, "]);
    assert!(tiny.is_untouched());
}

/// The cache follows the user's own folder where no variable names one.
#[test]
fn the_list_names_the_cache() {
    let tiny = Tiny::new();
    let mut command = tiny.command(&["weights", "list"]);
    command.env("XDG_CACHE_HOME", tiny.path("own"));
    let listed = Ended::of(&mut command).exits(0).stdout;
    let folder = tiny.path("own/arcrun/weights").display().to_string();
    assert!(listed.ends_with(&format!("kept in {folder}\n")), "{listed}");
    assert!(!Path::new(&folder).exists());
    for entry in registry::ENTRIES {
        assert!(listed.contains(entry.name), "{}", entry.name);
    }
}
