//! The program on every GPU of this machine; skipped, aloud, where there is none.

mod support;

use arcrun::torch::device::load_cuda;
use support::{Tiny, column};

const SAME: [&str; 6] = [
    "--set",
    "head.dropout=0",
    "--set",
    "record.wandb.mode=disabled",
    "--set",
    "train.device=\"cuda\"",
];

fn gpus() -> usize {
    load_cuda().map_or(0, |()| tch::Cuda::device_count() as usize)
}

#[test]
fn more_processes_than_gpus_are_refused_before_they_start() {
    let tiny = Tiny::new();
    let gpus = gpus();
    let more = (gpus + 1).max(2).to_string();
    let args = ["tiny.toml", "--nproc", &more, "--run-dir", "run"];
    let ended = tiny.run(&[&args[..], &SAME].concat()).exits(2);
    match gpus {
        0 => ended.says(&["`train.device`", "cuda:0 is not available"]),
        _ => ended.says(&[
            "`train.device`",
            &format!("{more} processes on this machine"),
            &format!("{gpus} GPU"),
        ]),
    };
    assert!(!tiny.path("run").exists());
}

#[test]
fn all_gpus_have_the_curve_of_one() {
    let gpus = gpus();
    if gpus < 2 {
        println!("skipped: training on several GPUs (there are {gpus})");
        return;
    }
    let tiny = Tiny::new();
    let count = gpus.to_string();
    for (name, more) in [("plain", &[][..]), ("sharded", &["--set", "loss.shard=true"])] {
        let more = [&SAME[..], &["--set", "train.batch_size=16"], more].concat();
        let one = tiny.train(&format!("{name}-one"), &more);
        let all = tiny.train(&format!("{name}-all"), &[&more[..], &["--nproc", &count]].concat());
        let losses = |run: &std::path::Path| -> Vec<f64> {
            let texts = column(&run.join("steps.csv"), "loss");
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let (ours, theirs) = (losses(&all), losses(&one));
        assert_eq!(ours.len(), theirs.len());
        for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            // float32 sums in another order, over steps that amplify it.
            assert!((ours - theirs).abs() <= 5e-3 * theirs.abs(), "{name} {at}: {ours} {theirs}");
        }
    }
}
