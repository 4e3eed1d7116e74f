//! `run data inspect`, `verify` and `pack`, and training from a pack.

mod support;

use std::path::{Path, PathBuf};
use support::{Tiny, column, run_json};

/// `tiny.toml` with another `[data]`.
fn with_data(tiny: &Tiny, name: &str, data: &str) {
    let text = std::fs::read_to_string(tiny.path("tiny.toml")).unwrap();
    let rest = text.find("[preprocess]").unwrap();
    tiny.write(name, &format!("[data]\n{data}\n{}", &text[rest..]));
}

/// The folder that the tiny experiment's faces were drawn to.
fn drawn(tiny: &Tiny) -> PathBuf {
    let pattern = tiny.path("datasets/synthetic_faces-*");
    let mut found = glob::glob(&pattern.display().to_string()).unwrap();
    found.find_map(|path| path.ok().filter(|path| path.is_dir())).unwrap()
}

fn jpegs(folder: &Path) -> Vec<PathBuf> {
    let pattern = folder.join("**/*.jpg").display().to_string();
    glob::glob(&pattern).unwrap().map(Result::unwrap).collect()
}

/// The losses and scores of a run from a pack are those of the run from its source, to the last digit.
#[test]
fn a_run_from_a_pack_is_the_run_from_the_folder() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--epochs", "1"]);
    let said = tiny.succeed(&["data", "pack", "tiny.toml", "--output", "a.pack"]);
    assert!(said.contains("88 images, files as they were"), "{said}");
    assert!(said.contains("train 63, validation 9, unseen 16"), "{said}");
    let said = tiny.succeed(&["data", "pack", "run", "--output", "b.pack", "--decoded"]);
    assert!(said.contains("RGB pixels of 32x32"), "{said}");
    let data = run_json(&run)["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), 3);
    std::fs::remove_dir_all(drawn(&tiny)).unwrap();
    for name in ["a", "b"] {
        with_data(&tiny, "packed.toml", &format!("kind = \"pack\"\nfile = \"{name}.pack\""));
        tiny.succeed(&["packed.toml", "-q", "--epochs", "1", "--run-dir", name]);
        let packed = tiny.path(name);
        let losses = |run: &Path| column(&run.join("steps.csv"), "loss");
        assert_eq!(losses(&run), losses(&packed));
        let eval = |run: &Path| std::fs::read_to_string(run.join("eval.csv")).unwrap();
        assert_eq!(eval(&run), eval(&packed));
        assert_eq!(data, run_json(&packed)["data"]);
        let said = tiny.succeed(&["data", "verify", name]);
        assert_eq!(said.matches("as the run recorded").count(), 3, "{said}");
    }
    tiny.run(&["data", "pack", "packed.toml", "--output", "c.pack"])
        .exits(2)
        .says(&["decoded already", "--decoded"]);
    let crop = "augmentation.resized_crop.share=0.5";
    let ended = tiny.run(&["check", "packed.toml", "--set", crop]).exits(0);
    assert!(ended.stdout.contains("decoded at the input size"), "{}", ended.stdout);
    for command in [&["check"][..], &["data", "pack", "--decoded", "--output", "c.pack"]] {
        let other = ["packed.toml", "--set", "preprocess.width=40"];
        tiny.run(&[command, &other].concat())
            .exits(2)
            .says(&["preprocess.width = 32, not 40", "run data pack"]);
    }
    tiny.run(&["data", "pack", "tiny.toml", "--output", "no/c.pack"])
        .exits(2)
        .says(&["no folder no"]);
    tiny.run(&["data", "pack", "tiny.toml", "--output", "c.pack", "--size", "8x8"]).exits(2);
}

#[test]
fn verify_finds_what_changed() {
    let tiny = Tiny::new();
    tiny.train("run", &["--epochs", "1"]);
    tiny.succeed(&["data", "pack", "run", "--output", "a.pack"]);
    let said = tiny.succeed(&["data", "verify", "run"]);
    assert!(said.contains("88, and every one can be decoded"), "{said}");
    let said = tiny.succeed(&["data", "verify", "a.pack"]);
    assert_eq!(said.matches("as the pack recorded").count(), 3, "{said}");
    tiny.succeed(&["data", "verify", "tiny.toml"]);

    // A flipped byte of a pack's image.
    let mut pack = std::fs::read(tiny.path("a.pack")).unwrap();
    pack[300] ^= 4;
    std::fs::write(tiny.path("a.pack"), &pack).unwrap();
    let ended = tiny.run(&["data", "verify", "a.pack"]).exits(1);
    assert!(ended.stdout.contains("WRONG: 1 of 88 can't be decoded"), "{}", ended.stdout);
    assert!(ended.stdout.contains("its checksum is wrong"), "{}", ended.stdout);
    pack.truncate(2000);
    std::fs::write(tiny.path("a.pack"), &pack).unwrap();
    for command in ["verify", "inspect"] {
        tiny.run(&["data", command, "a.pack"]).exits(2).says(&["cut short: 2000 bytes"]);
    }

    // A file that lost its end, and one that is gone.
    let files = jpegs(&drawn(&tiny).join("test"));
    let bytes = std::fs::read(&files[0]).unwrap();
    std::fs::write(&files[0], &bytes[..bytes.len() / 2]).unwrap();
    let ended = tiny.run(&["data", "verify", "run"]).exits(1);
    assert!(ended.stdout.contains("unseen      WRONG"), "{}", ended.stdout);
    assert!(ended.stdout.contains("end-of-image"), "{}", ended.stdout);
    assert!(ended.stdout.contains(", as the run recorded"), "{}", ended.stdout);
    tiny.run(&["data", "verify", "nowhere"]).exits(2).says(&["nowhere is not there"]);
}

#[test]
fn inspect_tells_what_a_folder_holds() {
    let tiny = Tiny::new();
    tiny.succeed(&["check", "tiny.toml"]);
    let folder = drawn(&tiny);
    let train = jpegs(&folder.join("train"));
    std::fs::copy(&train[0], jpegs(&folder.join("test"))[0].as_path()).unwrap();
    std::fs::write(&train[3], b"").unwrap();
    let said = tiny.succeed(&["data", "inspect", folder.to_str().unwrap(), "--output", "out"]);
    for part in [
        ": image_folder\n",
        "JPEG (87)",
        "32x32 (87)",
        "broken      1 (by the headers",
        "1 across parts",
        "warning: 1 images are in more than one part",
        "images per identity, train",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    for (name, least) in [("identities.png", 1000), ("samples.png", 8 * 112)] {
        let picture = image::open(tiny.path("out").join(name)).unwrap();
        assert!(picture.width() >= least, "{name}: {}", picture.width());
    }
    let said = tiny.succeed(&["data", "inspect", "tiny.toml", "--json", "--decode"]);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["images"], 88);
    assert_eq!(report["decoded"], true);
    assert_eq!(report["duplicates"][0]["among"], "parts");
    let written = std::fs::read(tiny.path("out/inspect.json")).unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&written).is_ok());
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let tiny = Tiny::new();
    tiny.succeed(&["check", "tiny.toml"]);
    let folder = drawn(&tiny);
    std::fs::create_dir(tiny.path("out")).unwrap();
    // 10 blocks of 512 or 1024 bytes.
    let script = "ulimit -f 10; exec \"$0\" \"$@\"";
    let args = ["data", "pack", folder.to_str().unwrap(), "--output", "out/a.pack", "--decoded"];
    let ended = support::Ended::of(&mut tiny.under_shell(script, &args)).exits(1);
    ended.says(&["cannot write out/a.pack", "there was no room after", "nothing was kept"]);
    assert_eq!(std::fs::read_dir(tiny.path("out")).unwrap().count(), 0);
}
