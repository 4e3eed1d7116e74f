//! Real faces: the program trains on them, split by identity and by image, and scores pairs of
//! people that it was not trained on. Skipped, aloud, where the data is not there.

mod support;

use std::path::{Path, PathBuf};
use support::Tiny;

/// `ARCRUN_TEST_DATA` or `../shared/data`.
fn data() -> Option<PathBuf> {
    let root = std::env::var_os("ARCRUN_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    if root.join("celeba").is_dir() && root.join("orl").is_dir() {
        return root.canonicalize().ok();
    }
    eprintln!("skipped: no celeba and orl in {} (set ARCRUN_TEST_DATA)", root.display());
    None
}

/// Trains an epoch on a folder of real faces and returns `eval.csv`.
fn train(data: &Path, split: &str, unseen: &str) -> String {
    let tiny = Tiny::new();
    tiny.write(
        "real.toml",
        &format!(
            "base = \"tiny.toml\"\n[data]\nkind = \"image_folder\"\nroot = \"{}\"\nsplit = \"{split}\"\n\
             fractions = {{ train = 0.7, validation = 0.1, test = 0.2 }}\nmin_images = 10\n\
             [train]\nepochs = 1\nbatch_size = 64\n[evaluate]\nevery_epochs = 1\n\
             [evaluate.sets.unseen]\nkind = \"unseen_pairs\"\npairs = 200\nfolds = 10\n{unseen}\n",
            data.join("celeba").display(),
        ),
    );
    let output = tiny.command(&["real.toml", "--run-dir", "run"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let epochs = std::fs::read_to_string(tiny.path("run/epochs.csv")).unwrap();
    assert_eq!(epochs.lines().count(), 2, "{epochs}");
    std::fs::read_to_string(tiny.path("run/eval.csv")).unwrap()
}

fn assert_scored(eval: &str) {
    for checkpoint in ["untrained", "latest", "min-loss"] {
        let row = eval.lines().find(|row| row.contains(&format!(",{checkpoint},unseen,accuracy,")));
        let row = row.unwrap_or_else(|| panic!("no accuracy of {checkpoint} in {eval}"));
        let accuracy: f64 = row.split(',').nth(4).unwrap().parse().unwrap();
        assert!((0.3..=1.0).contains(&accuracy), "{row}");
    }
}

#[test]
fn split_by_identity_scores_people_that_were_held_out() {
    let Some(data) = data() else { return };
    assert_scored(&train(&data, "identity", ""));
}

#[test]
fn split_by_image_scores_people_of_another_folder() {
    let Some(data) = data() else { return };
    let root = format!("root = \"{}\"", data.join("orl").display());
    assert_scored(&train(&data, "image", &root));
}

/// The same faces through CelebA's lists: a folder of links, and the list that the program writes.
#[test]
fn celebas_layout_reads_the_faces_of_a_folder() {
    let Some(data) = data() else { return };
    let tiny = Tiny::new();
    std::fs::create_dir(tiny.path("faces")).unwrap();
    for entry in std::fs::read_dir(data.join("celeba")).unwrap() {
        let identity = entry.unwrap();
        let link = tiny.path("faces").join(identity.file_name());
        std::os::unix::fs::symlink(identity.path(), link).unwrap();
    }
    let said = tiny.succeed(&["data", "celeba-identities", "faces"]);
    let images = said.split(' ').next().unwrap().parse::<usize>().unwrap();
    let list = std::fs::read_to_string(tiny.path("faces/identity_CelebA.txt")).unwrap();
    assert!(images > 1000 && list.lines().count() == images, "{said}");
    tiny.write(
        "real.toml",
        "base = \"tiny.toml\"\n[data]\nkind = \"celeba\"\nroot = \"faces\"\nidentities = 5\n\
         [backbone]\nkind = \"embedding_2d\"\nbatch_norm = true\n[head]\nembedding_dim = 2\n\
         [train]\nepochs = 1\n[evaluate]\nevery_epochs = 0\n[evaluate.sets.unseen]\n\
         kind = \"unseen_pairs\"\nroot = \"faces\"\npairs = 20\n[record]\n\
         embeddings_every_epochs = 1\n",
    );
    tiny.succeed(&["real.toml", "-q", "--run-dir", "run"]);
    let classes = std::fs::read_to_string(tiny.path("run/embeddings/classes.json")).unwrap();
    let classes: Vec<String> = serde_json::from_str(&classes).unwrap();
    assert_eq!(classes.len(), 5);
    assert!(classes.is_sorted() && classes.iter().all(|name| name.len() == 3), "{classes:?}");
    tiny.succeed(&["plot", "embeddings", "run"]);
    assert!(tiny.path("run/plots/embeddings-0001.png").exists());
}
