//! Gradient checkpointing: what is recomputed is what was there before to the bit, whole networks
//! too, and memory falls.

mod support;

use arcrun::backbone::batch_norm::BatchNorm;
use arcrun::config::load_str;
use arcrun::plan::Plan;
use arcrun::torch::autocast;
use arcrun::torch::checkpointing::{Sequence, checkpointed, recomputing};
use arcrun::train::embedder::Inputs;
use arcrun::train::model::Model;
use arcrun::train::step::Stepper;
use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use support::{Ended, Tiny};
use tch::nn::{self, Module, ModuleT};
use tch::{Device, Kind, Tensor};

/// The random generator is the process's: tests that draw, or put it back, take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Linear, batch norm, dropout, and the input added.
#[derive(Debug)]
struct Block {
    linear: nn::Linear,
    bn: BatchNorm,
}

impl Block {
    fn forward(&self, x: &Tensor) -> Tensor {
        let mut main = self.bn.forward_t(&self.linear.forward(x), true);
        (main.relu_().dropout(0.3, true) + x).tanh()
    }
}

/// `count` blocks from the same weights each time.
fn network(count: i64) -> (nn::VarStore, Sequence<Block>) {
    tch::manual_seed(5);
    let store = nn::VarStore::new(Device::Cpu);
    let block = |index: i64| {
        let path = store.root() / index;
        Block {
            linear: nn::linear(&path / "linear", 6, 6, Default::default()),
            bn: BatchNorm::new(&(&path / "bn"), 6),
        }
    };
    let blocks = Sequence::new((0..count).map(block).collect());
    (store, blocks)
}

/// Loss, gradients of input and parameters, running statistics and the random number after it all.
fn pass(every: usize, amp: Option<Kind>) -> Vec<Tensor> {
    let (store, mut blocks) = network(5);
    blocks.recompute(every);
    tch::manual_seed(6);
    let input = Tensor::randn([8, 6], FLOAT).set_requires_grad(true);
    let output = autocast::with(Device::Cpu, amp, || {
        blocks.forward(input.shallow_clone(), |block: &Block, x| block.forward(x))
    });
    let loss = output.unwrap().to_kind(Kind::Float).square().sum(Kind::Float);
    // What is drawn between the passes is not what the segments drew.
    let between = Tensor::rand([3], FLOAT);
    loss.backward();
    let mut variables: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    let of = |(_, tensor): (String, Tensor)| match tensor.requires_grad() {
        true => tensor.grad(),
        false => tensor,
    };
    let first = [loss.detach(), input.grad(), between, Tensor::rand([3], FLOAT)];
    first.into_iter().chain(variables.into_iter().map(of)).collect()
}

#[track_caller]
fn assert_same(what: &str, ours: &[Tensor], expected: &[Tensor]) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    for (index, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        assert!(ours.equal(expected), "{what}: tensor {index} differs");
    }
}

#[test]
fn every_bit_is_as_without() {
    let _turn = alone();
    for amp in [None, Some(Kind::BFloat16)] {
        let expected = pass(0, amp);
        assert!(expected.iter().all(Tensor::defined) && expected.len() == 4 + 5 * 6);
        for every in [1, 2, 5, 9] {
            assert_same(&format!("{amp:?}, {every} at a time"), &pass(every, amp), &expected);
        }
    }
}

/// Runs `x -> 2 w x` and counts the calls and the segments that are alive.
fn counted(x: &Tensor, weight: &Tensor, calls: &Arc<AtomicUsize>, alive: &Arc<()>) -> Tensor {
    let (weight, calls, alive) = (weight.shallow_clone(), Arc::clone(calls), Arc::clone(alive));
    checkpointed(x, move |x| {
        let _alive = &alive;
        calls.fetch_add(1, Ordering::Relaxed);
        x * &weight * 2.0
    })
}

#[test]
fn a_segment_runs_again_only_for_a_gradient_and_is_let_go() {
    let _turn = alone();
    let (calls, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
    let weight = Tensor::ones([3], FLOAT).set_requires_grad(true);
    let plain = Tensor::ones([3], FLOAT);
    let leaf = Tensor::ones([3], FLOAT).set_requires_grad(true);

    // No graph at the input: an ordinary forward pass, with the weight's gradient.
    counted(&plain, &weight, &calls, &alive).sum(Kind::Float).backward();
    assert_eq!(calls.swap(0, Ordering::Relaxed), 1);
    assert_eq!(weight.grad(), Tensor::from_slice(&[2f32, 2.0, 2.0]));
    let output = tch::no_grad(|| counted(&leaf, &weight, &calls, &alive));
    assert!(!output.requires_grad() && calls.swap(0, Ordering::Relaxed) == 1);

    let output = counted(&leaf, &weight, &calls, &alive);
    assert_eq!((calls.load(Ordering::Relaxed), Arc::strong_count(&alive)), (1, 2));
    let loss = output.sum(Kind::Float);
    loss.backward();
    assert_eq!((calls.load(Ordering::Relaxed), Arc::strong_count(&alive)), (2, 1));
    assert_eq!(leaf.grad(), Tensor::from_slice(&[2f32, 2.0, 2.0]));
    assert_eq!(weight.grad(), Tensor::from_slice(&[4f32, 4.0, 4.0]));
    // A graph that is dropped without a backward pass lets go of it too.
    drop(counted(&leaf, &weight, &calls, &alive));
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// Within one autocast region: the segment's own run, which has no graph, must not leave its cast of
/// the weight for what comes after.
#[test]
fn a_weight_that_is_used_outside_too_gets_both_gradients() {
    let _turn = alone();
    let gradient = |recompute: bool| {
        let weight = (Tensor::eye(4, FLOAT) * 3.0).set_requires_grad(true);
        let x = Tensor::ones([2, 4], FLOAT).set_requires_grad(true);
        let output = autocast::with(Device::Cpu, Some(Kind::BFloat16), || {
            let own = weight.shallow_clone();
            let inner = match recompute {
                true => checkpointed(&x, move |x| x.matmul(&own)),
                false => x.matmul(&own),
            };
            inner.matmul(&weight)
        });
        output.unwrap().sum(Kind::Float).backward();
        weight.grad()
    };
    // Small whole numbers: bfloat16 holds every sum exactly.
    assert_eq!(gradient(true), gradient(false));
}

fn text(panic: Box<dyn Any + Send>) -> String {
    *panic.downcast::<String>().expect("a panic with a text made by format")
}

#[test]
fn a_panic_inside_is_the_callers() {
    let _turn = alone();
    let x = Tensor::ones([2], FLOAT).set_requires_grad(true);
    let caught = std::panic::catch_unwind(|| checkpointed(&x, |_| panic!("no such thing")));
    assert!(text(caught.unwrap_err()).contains("no such thing"));
    let output = checkpointed(&x, |x| match recomputing() {
        true => panic!("not twice"),
        false => x * 2.0,
    });
    let caught = std::panic::catch_unwind(|| output.sum(Kind::Float).backward());
    assert!(text(caught.unwrap_err()).contains("not twice"));
    assert!(!recomputing());
}

#[test]
fn a_backward_pass_for_chosen_tensors_is_refused() {
    let _turn = alone();
    let x = Tensor::ones([2], FLOAT).set_requires_grad(true);
    let output = checkpointed(&x, |x| x * 2.0).sum(Kind::Float);
    let refused = Tensor::f_run_backward(&[output], &[&x], false, false).unwrap_err();
    assert!(refused.to_string().contains("for chosen tensors alone"), "{refused}");
}

/// One training step's gradients and running statistics of a whole model, with dropout in its head.
fn step(keys: &str) -> Vec<Tensor> {
    let text = format!(
        "data.kind = \"synthetic_faces\"\ntrain.device = \"cpu\"\n\
         preprocess = {{ height = 32, width = 32 }}\n\
         head = {{ embedding_dim = 8, dropout = 0.2 }}\n{keys}"
    );
    let plan = Plan::new(load_str("x.toml", &text, &[]).unwrap()).unwrap();
    let mut model = Model::build(&plan.experiment, 4, plan.device);
    model.grouped(&plan).unwrap();
    tch::manual_seed(7);
    let pixels = Tensor::randint(256, [4, 3, 32, 32], (Kind::Uint8, Device::Cpu));
    let labels = Tensor::from_slice(&[0i64, 1, 2, 3]);
    let inputs = Inputs::without_text(pixels, labels);
    let stepper = Stepper::new(&plan);
    let forward = stepper.forward(&mut model, &inputs, true).unwrap();
    stepper.backward(&forward.output.loss).unwrap();
    let of = |tensor: Tensor| match tensor.requires_grad() {
        true => tensor.grad(),
        false => tensor,
    };
    [forward.output.loss.detach()]
        .into_iter()
        .chain(model.tensors().into_values().map(of))
        .collect()
}

#[test]
fn a_step_of_each_backbone_is_the_same_to_the_bit() {
    let _turn = alone();
    let ways =
        ["", "train.channels_last = true", "train.amp = \"bf16\"", "finetune.freeze_stages = 1"];
    for (backbone, ways) in [
        ("kind = \"resnet18\"", &ways[..]),
        ("kind = \"resnet50\"", &ways[..1]),
        ("kind = \"mobilefacenet\"\nkernel = [2, 2]", &ways),
        ("kind = \"efficient_fr\"\nchannels = [8, 16]\ndepths = [2, 3]", &ways),
        ("kind = \"embedding_2d\"\nbatch_norm = true", &ways),
        ("kind = \"iresnet18\"\ngrid = [2, 2]\ndropout = 0.3", &ways[..1]),
        ("kind = \"mbf\"\nkernel = [2, 2]", &ways[..1]),
        ("kind = \"efficientnet_b0\"", &ways[..1]),
        (
            "kind = \"vit\"\nimage_size = 32\npatch_size = 8\nwidth = 32\nlayers = 3\nheads = 2",
            &ways[..1],
        ),
    ] {
        for way in ways {
            let keys = |every: usize| {
                format!("{way}\nfinetune.gradient_checkpointing = {every}\n[backbone]\n{backbone}")
            };
            let expected = step(&keys(0));
            for every in [1, 3] {
                assert_same(&keys(every), &step(&keys(every)), &expected);
            }
        }
    }
}

/// MB that `run bench step` reports beside the weights.
#[cfg(target_os = "linux")]
fn peak(more: &[&str]) -> f64 {
    let tiny = Tiny::new();
    let sets = [
        "backbone={kind = \"mobilefacenet\"}",
        "preprocess.height=112",
        "preprocess.width=112",
        "train.batch_size=16",
    ];
    let sets = sets.iter().chain(more).flat_map(|set| ["--set", set]);
    let args = ["bench", "step", "tiny.toml", "--steps", "1", "--warm-up", "1", "--json"];
    let args: Vec<&str> = args.into_iter().chain(sets).collect();
    let mut command = tiny.command(&args);
    // What is freed goes back at once, or holes in the heap would be counted.
    command.env("MALLOC_MMAP_THRESHOLD_", "131072").env("MALLOC_TRIM_THRESHOLD_", "131072");
    let printed = Ended::of(&mut command).exits(0).stdout;
    let report: serde_json::Value = serde_json::from_str(&printed).unwrap();
    report["peak_mb"].as_f64().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn memory_falls() {
    let (kept, recomputed) = (peak(&[]), peak(&["finetune.gradient_checkpointing=1"]));
    eprintln!("{kept:.0} MB kept, {recomputed:.0} MB recomputed");
    assert!(recomputed < 0.7 * kept, "{recomputed:.0} MB of {kept:.0}");
}
