//! Loss curves that a refactoring must not change: 20 steps of training on the CPU with one
//! thread, for each loss, against `tests/fixtures/golden/<loss>.json`.
//!
//! `ARCRUN_BLESS=1 cargo test --test golden` writes the files anew; a change of theirs belongs into
//! the commit that changes the numbers, with the reason.

mod support;

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use support::{Tiny, column};

/// Largest relative difference to a curve of another kind of CPU. Vector widths, and so the order
/// of the sums, differ from CPU to CPU: with libtorch and oneDNN held to AVX2 or SSE4.1, or with two
/// threads, the three curves moved by 7e-6 at most.
const TOLERANCE: f64 = 1e-4;

#[derive(Serialize, Deserialize)]
struct Golden {
    /// Where it was written: exact there.
    cpu: String,
    /// Mean loss of each step.
    losses: Vec<f64>,
}

/// What decides over the kernels that are used.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().unwrap_or("").trim() == name);
        line.and_then(|line| line.split(':').nth(1)).unwrap_or("unknown").trim().to_string()
    };
    let flags = field("flags");
    let has = |name: &str| flags.split(' ').any(|flag| flag == name);
    let features = ["avx2", "fma", "avx512f", "avx512_bf16", "amx_tile"];
    let features: Vec<&str> = features.into_iter().filter(|name| has(name)).collect();
    format!(
        "{}, {}, family {}, model {}, {}",
        std::env::consts::ARCH,
        field("model name"),
        field("cpu family"),
        field("model"),
        features.join(" ")
    )
}

/// Without dropout: its masks come from other generators on CPUs of other makers.
fn train(loss: &str) -> Vec<f64> {
    let tiny = Tiny::new();
    let kind = format!("loss.kind={loss}");
    let mut settings =
        vec!["--set", &kind, "--set", "head.dropout=0", "--set", "train.max_steps=20"];
    if ["supcon", "triplet"].contains(&loss) {
        settings.extend(["--set", "sampler.kind=pk", "--set", "sampler.images_per_identity=2"]);
    }
    let run = tiny.train("run", &settings);
    let losses = column(&run.join("steps.csv"), "loss");
    losses.iter().map(|loss| loss.parse().unwrap()).collect()
}

#[track_caller]
fn check(loss: &str) {
    let ours = Golden { cpu: cpu(), losses: train(loss) };
    assert_eq!(ours.losses.len(), 20);
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/golden"].iter().collect();
    let file = folder.join(format!("{loss}.json"));
    if std::env::var_os("ARCRUN_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&ours).unwrap();
        std::fs::write(&file, text + "\n").unwrap();
        return;
    }
    let golden: Golden = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let exact = golden.cpu == ours.cpu;
    for (step, (ours, golden)) in ours.losses.iter().zip(&golden.losses).enumerate() {
        let difference = (ours - golden).abs() / golden.abs();
        let same = if exact { ours == golden } else { difference <= TOLERANCE };
        assert!(same, "{loss}, step {}: {ours} instead of {golden} ({difference:e})", step + 1);
    }
}

/// One test for each loss, by its kind.
macro_rules! curves {
    ($($loss:ident)*) => {$(
        #[test]
        fn $loss() {
            check(stringify!($loss));
        }
    )*};
}

curves! {
    adaface arcface combined cosface cross_entropy curricularface multiplicative norm_softmax
    sphereface sphereface_r subcenter_arcface supcon triplet
}
