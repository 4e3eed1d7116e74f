//! Embeddings recorded while training, and what is drawn of them.

mod support;

use std::io::Cursor;
use std::path::Path;

use arcrun::plot::embeddings::page_data;
use arcrun::record::embeddings::{Embeddings, file, list, write_classes};
use image::AnimationDecoder;
use image::codecs::gif::GifDecoder;
use support::{Tiny, column};
use tch::Tensor;

const RECORD: [&str; 2] = ["--set", "record.embeddings_every_epochs=1"];

fn epochs(run: &Path) -> Vec<u64> {
    list(run).unwrap().iter().map(|(epoch, _)| *epoch).collect()
}

fn bytes(run: &Path, epoch: u64) -> Vec<u8> {
    std::fs::read(file(run, epoch)).unwrap()
}

#[test]
fn epochs_are_recorded_from_before_training() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &RECORD);
    assert_eq!(epochs(&run), [0, 1, 2, 3]);
    let names = std::fs::read_to_string(run.join("embeddings/classes.json")).unwrap();
    let names: Vec<String> = serde_json::from_str(&names).unwrap();
    assert_eq!(names.len(), 8);
    let mut before: Option<Tensor> = None;
    for (epoch, path) in list(&run).unwrap() {
        let one = Embeddings::read(&path).unwrap();
        assert_eq!(
            (one.epoch, one.split.as_str(), one.experiment.as_str()),
            (epoch, "validation", "tiny")
        );
        // An eighth of the nine images of each of eight identities, in their order.
        assert_eq!(one.points.size(), [9, 16]);
        let labels = Vec::<i64>::try_from(&one.labels).unwrap();
        assert!(labels.is_sorted() && (0..8).all(|label| labels.contains(&label)), "{labels:?}");
        assert_eq!(one.centres.as_ref().unwrap().size(), [8, 16]);
        if let Some(before) = before {
            assert!(!one.points.equal(&before), "epoch {epoch} is as the one before");
        }
        before = Some(one.points);
    }

    let every = tiny.train("every", &["--set", "record.embeddings_every_epochs=2"]);
    assert_eq!(epochs(&every), [0, 2]);
    assert!(bytes(&every, 2) == bytes(&run, 2), "recording less often changed what is recorded");
    let none = tiny.train("none", &[]);
    assert!(!none.join("embeddings").exists());
    let loss = |run: &Path| column(&run.join("steps.csv"), "loss");
    assert_eq!(loss(&none), loss(&run), "recording changed the training");
}

#[test]
fn of_training_images_where_none_validate_and_without_centres_where_a_loss_has_none() {
    let tiny = Tiny::new();
    let run = tiny.train(
        "run",
        &[
            &RECORD[..],
            &["--set", "data.validation=0", "--set", "record.embeddings_samples=20"],
            &["--set", "loss.kind=triplet", "--set", "sampler.kind=pk"],
            &["--set", "sampler.images_per_identity=2", "--set", "epochs=1"],
        ]
        .concat(),
    );
    let one = Embeddings::read(&file(&run, 1)).unwrap();
    assert_eq!((one.split.as_str(), one.points.size()), ("train", vec![20, 16]));
    assert!(one.centres.is_none());
    let labels = Vec::<i64>::try_from(&one.labels).unwrap();
    let counts: Vec<usize> =
        (0..8).map(|class| labels.iter().filter(|label| **label == class).count()).collect();
    assert!(counts.iter().all(|count| (2..=3).contains(count)), "{counts:?}");
}

/// A run that goes on ends with the same files as one that never stopped: those past the checkpoint
/// are cut and written again, and what was recorded before it stays.
#[test]
fn a_continued_run_has_no_gap_and_no_repeat() {
    let tiny = Tiny::new();
    // A rate that does not depend on the number of epochs.
    let settings = [&RECORD[..], &["--set", "scheduler.kind=constant"]].concat();
    let whole = tiny.train("whole", &settings);
    let run = tiny.train("run", &[&settings[..], &["--set", "epochs=2"]].concat());
    assert_eq!(epochs(&run), [0, 1, 2]);
    let before = bytes(&run, 1);
    // As if a kill had come between the file of an epoch and its checkpoint.
    std::fs::write(file(&run, 3), "half of it").unwrap();
    std::fs::write(file(&run, 7), "of another life").unwrap();
    std::fs::write(run.join("embeddings/.tmp-epoch-0003.safetensors-1"), "").unwrap();
    tiny.train("run", &[&settings[..], &["--continue-train", "latest"]].concat());
    assert_eq!(epochs(&run), [0, 1, 2, 3]);
    assert!(before == bytes(&run, 1));
    for epoch in 0..4 {
        assert!(bytes(&run, epoch) == bytes(&whole, epoch), "epoch {epoch} differs");
    }
    let left = std::fs::read_dir(run.join("embeddings")).unwrap().count();
    assert_eq!(left, 5, "four epochs and classes.json");

    // A fork begins with the state of its checkpoint.
    let checkpoint = whole.join("checkpoints/latest").display().to_string();
    tiny.succeed(
        &[
            &["tiny.toml", "-q", "--continue-train", &checkpoint],
            &settings[..],
            &["--set", "epochs=4"],
        ]
        .concat(),
    );
    let fork = tiny.runs().pop().unwrap();
    assert_eq!(epochs(&fork), [3, 4]);
    assert!(bytes(&fork, 3) == bytes(&whole, 3));
}

/// A run as training leaves it, of points that are given.
fn recorded(run: &Path, dim: i64, epochs: &[u64], loss: &str) {
    let (classes, count) = (10, 60);
    let names: Vec<String> = (0..classes).map(|n| format!("person {n} <&>")).collect();
    write_classes(run, &names).unwrap();
    std::fs::write(run.join("config.toml"), format!("[loss]\nkind = \"{loss}\"\n")).unwrap();
    for &epoch in epochs {
        let value = |n: i64, d: i64| {
            let angle = (n % classes) as f64 / classes as f64 * std::f64::consts::TAU
                + (n % 7) as f64 * 0.02;
            let radius = 1.0 + epoch as f64 + (n % 5) as f64 * 0.3;
            let noise = ((n * 31 + d * 17) % 13) as f64 / 50.0;
            (if d % 2 == 0 { angle.cos() } else { angle.sin() }) * radius + noise
        };
        let rows = |count: i64| {
            let flat: Vec<f32> =
                (0..count).flat_map(|n| (0..dim).map(move |d| value(n, d) as f32)).collect();
            Tensor::from_slice(&flat).view([count, dim])
        };
        let labels: Vec<i64> = (0..count).map(|n| n % classes).collect();
        let one = Embeddings {
            epoch,
            split: "validation".into(),
            experiment: "made".into(),
            points: rows(count),
            labels: Tensor::from_slice(&labels),
            centres: Some(rows(classes)),
        };
        one.write(run).unwrap();
    }
}

/// (width, height) and the share of pixels that are not white.
fn looked_at(png: &Path) -> ((u32, u32), f64) {
    let image = image::open(png).unwrap().into_rgb8();
    let drawn = image.pixels().filter(|pixel| pixel.0 != [255; 3]).count();
    (image.dimensions(), drawn as f64 / f64::from(image.width() * image.height()))
}

#[track_caller]
fn assert_pictures(folder: &Path, epochs: &[u64]) -> (u32, u32) {
    let mut size = (0, 0);
    for epoch in epochs {
        let (own, share) = looked_at(&folder.join(format!("embeddings-{epoch:04}.png")));
        assert!(size == (0, 0) || own == size, "{own:?} and {size:?}");
        assert!((0.01..0.5).contains(&share), "{share} of epoch {epoch} is drawn on");
        size = own;
    }
    let gif = std::fs::read(folder.join("embeddings.gif")).unwrap();
    let decoder = GifDecoder::new(Cursor::new(&gif)).unwrap();
    let frames = decoder.into_frames().collect_frames().unwrap();
    assert_eq!(frames.len(), epochs.len());
    let times: Vec<u32> = frames.iter().map(|f| f.delay().numer_denom_ms().0).collect();
    assert!(times.iter().rev().skip(1).all(|time| *time < times[times.len() - 1]), "{times:?}");
    for frame in &frames {
        // A pixel to a point, a PNG has two.
        assert_eq!(frame.buffer().dimensions(), (size.0 / 2, size.1 / 2));
        assert_eq!(frame.buffer().get_pixel(0, 0).0, [255; 4], "the paper is not white");
    }
    let last = epochs.last().unwrap();
    let svg = std::fs::read_to_string(folder.join(format!("embeddings-{last:04}.svg"))).unwrap();
    assert!(svg.contains("person 3 &lt;&amp;&gt;"), "no legend in the SVG");
    size
}

#[test]
fn one_run_is_drawn() {
    let tiny = Tiny::new();
    let run = tiny.path("run");
    std::fs::create_dir(&run).unwrap();
    recorded(&run, 2, &[0, 1, 5], "arcface");
    let said = tiny.succeed(&["plot", "embeddings", "run"]);
    assert!(said.contains("3 pictures, embeddings.gif and embeddings.html in run/plots"), "{said}");
    let folder = run.join("plots");
    let size = assert_pictures(&folder, &[0, 1, 5]);
    assert!(size.0 > size.1, "{size:?}: side by side");
    let page = std::fs::read_to_string(folder.join("embeddings.html")).unwrap();
    assert!(page.contains("\"epoch\":5") && page.contains("person 9 \\u003c&>"));
    // The same again, to the last byte.
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let before = [read("embeddings-0001.png"), read("embeddings.gif")];
    tiny.succeed(&["plot", "embeddings", "run"]);
    assert!(before == [read("embeddings-0001.png"), read("embeddings.gif")]);
}

#[test]
fn several_runs_are_drawn_side_by_side() {
    let tiny = Tiny::new();
    for (name, loss) in [("a", "arcface"), ("b", "cross_entropy"), ("c", "cosface")] {
        std::fs::create_dir(tiny.path(name)).unwrap();
        recorded(&tiny.path(name), 2, if name == "b" { &[0, 2] } else { &[0, 1, 2] }, loss);
    }
    tiny.succeed(&["plot", "embeddings", "a", "b", "c", "--output", "together"]);
    let size = assert_pictures(&tiny.path("together"), &[0, 1, 2]);
    assert!(size.0 > 1800, "{size:?}");
    let svg = std::fs::read_to_string(tiny.path("together/embeddings-0002.svg")).unwrap();
    for loss in ["arcface", "cross_entropy", "cosface"] {
        assert!(svg.contains(loss), "{loss} is not named");
    }
    assert!(!tiny.path("a/plots").exists());
}

#[test]
fn more_dimensions_are_projected() {
    let tiny = Tiny::new();
    let run = tiny.path("run");
    std::fs::create_dir(&run).unwrap();
    recorded(&run, 16, &[0, 3], "arcface");
    tiny.succeed(&["plot", "embeddings", "run", "--output", "pca"]);
    assert_pictures(&tiny.path("pca"), &[0, 3]);
    tiny.succeed(&["plot", "embeddings", "run", "--output", "tsne", "--projection", "tsne"]);
    assert_pictures(&tiny.path("tsne"), &[0, 3]);
    let args = ["plot", "embeddings", "run", "--projection", "tsne", "--perplexity", "40"];
    tiny.run(&args).exits(2).says(&["--perplexity 40 of 60 images", "from 1 to 19.7"]);
    let args = ["plot", "embeddings", "run", "--perplexity", "5"];
    tiny.run(&args).exits(2).says(&["the projection is pca"]);
}

#[test]
fn the_page_data_is_of_every_epoch() {
    let folder = tempfile::tempdir().unwrap();
    assert!(page_data(folder.path()).unwrap().is_none());
    recorded(folder.path(), 2, &[0, 4], "cosface");
    let data = page_data(folder.path()).unwrap().unwrap();
    assert_eq!((&data["loss"], &data["dim"]), (&"cosface".into(), &2.into()));
    assert_eq!(data["classes"][3], "person 3 <&>");
    assert_eq!(data["epochs"].as_array().unwrap().len(), 2);
    let last = &data["epochs"][1];
    assert_eq!((&last["epoch"], last["points"].as_array().unwrap().len()), (&4.into(), 60));
    assert_eq!((&last["labels"][13], last["centres"].as_array().unwrap().len()), (&3.into(), 10));
    // Point 0: angle 0, radius 5, no noise in x and 17 % 13 / 50 in y.
    assert_eq!(last["points"][0], serde_json::json!([5.0, 0.08]));
    let unit = [last["unit"][0][0].as_f64().unwrap(), last["unit"][0][1].as_f64().unwrap()];
    assert!((unit[0].hypot(unit[1]) - 1.0).abs() < 1e-3, "{unit:?}");
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let tiny = Tiny::new();
    let plot = |runs: &[&str]| tiny.run(&[&["plot", "embeddings"], runs].concat()).exits(2);
    plot(&["nowhere"]).says(&["there is no run folder nowhere"]);
    for name in ["empty", "two", "four", "others"] {
        std::fs::create_dir(tiny.path(name)).unwrap();
    }
    plot(&["empty"]).says(&["no recorded embeddings", "record.embeddings_every_epochs = 1"]);
    recorded(&tiny.path("two"), 2, &[0, 1], "arcface");
    recorded(&tiny.path("four"), 4, &[0, 1], "arcface");
    plot(&["two", "four"]).says(&["four has embeddings of 4 dimensions, two of 2"]);
    recorded(&tiny.path("others"), 2, &[0], "arcface");
    let names: Vec<String> = (0..10).map(|n| format!("other {n}")).collect();
    write_classes(&tiny.path("others"), &names).unwrap();
    plot(&["two", "others"]).says(&["others has other identities than two"]);
    write_classes(&tiny.path("others"), &names[..3]).unwrap();
    plot(&["others"]).says(&["epoch-0000.safetensors: label 9", "3 names"]);

    let damaged = file(&tiny.path("two"), 1);
    let whole = std::fs::read(&damaged).unwrap();
    std::fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    plot(&["two"]).says(&["two/embeddings/epoch-0001.safetensors"]);
    let mut one = Embeddings::read(&file(&tiny.path("two"), 0)).unwrap();
    (one.epoch, one.points) = (1, &one.points / 0.0);
    one.write(&tiny.path("two")).unwrap();
    plot(&["two"]).says(&["epoch-0001.safetensors: it holds numbers that are not finite"]);
    assert!(!tiny.path("two/plots").exists());
    std::fs::remove_file(tiny.path("four/embeddings/classes.json")).unwrap();
    plot(&["four"]).says(&["four/embeddings/classes.json"]);
    std::fs::copy(file(&tiny.path("two"), 0), file(&tiny.path("four"), 0)).unwrap();
    write_classes(&tiny.path("four"), &names).unwrap();
    plot(&["four"])
        .says(&["epoch-0001.safetensors: embeddings of 4 dimensions, those of epoch 0 have 2"]);
}
