use super::*;
use serde_json::json;
use std::path::Path;

const BASE: &str = "data.kind = \"synthetic_faces\"\nloss.kind = \"cosface\"\nloss.margin = 0.2\n";

/// A sweep over [`BASE`] in a folder of its own.
fn parsed(text: &str) -> Result<(tempfile::TempDir, SweepFile)> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("base.toml"), BASE).unwrap();
    let path = folder.path().join("x.toml");
    let file = SweepFile::parse(&path, &format!("base = \"base.toml\"\n{text}"))?;
    Ok((folder, file))
}

fn expanded(text: &str) -> Result<Expansion> {
    let (_folder, file) = parsed(text)?;
    expand(&file, &[])
}

fn names(text: &str) -> Vec<String> {
    let expansion = expanded(text).unwrap_or_else(|error| panic!("{error}"));
    expansion.trials.into_iter().map(|trial| trial.name).collect()
}

#[track_caller]
fn told(text: &str, parts: &[&str]) {
    let error = expanded(text).expect_err(text);
    let shown = error.to_string() + &help(&error);
    assert_eq!(error.exit_code(), 2, "{shown}");
    for part in parts {
        assert!(shown.contains(part), "{text}\nlacks {part:?}:\n{shown}");
    }
}

fn help(error: &Error) -> String {
    match error {
        Error::Input { help, .. } => help.clone().unwrap_or_default(),
        _ => String::new(),
    }
}

#[test]
fn grid_zip_and_seeds() {
    let text = "seeds = 2\n[grid]\nlr = [0.1, 0.01]\n[zip]\ntrain.batch_size = [64, 128]\n\
                loss.margin = [0.3, 0.4]";
    let expected = [
        "lr=0.1,batch_size=64,margin=0.3,seed=0",
        "lr=0.1,batch_size=64,margin=0.3,seed=1",
        "lr=0.1,batch_size=128,margin=0.4,seed=0",
        "lr=0.1,batch_size=128,margin=0.4,seed=1",
    ];
    assert_eq!(names(text)[..4], expected);
    let expansion = expanded(text).unwrap();
    let axes = ["optimizer.lr", "train.batch_size", "loss.margin", "seed"];
    assert_eq!((expansion.axes.len(), expansion.trials.len()), (4, 8));
    assert_eq!(expansion.axes, axes);
    assert_eq!(expansion.trials[0].set.keys().collect::<Vec<_>>(), axes);
    let groups = "[[zip]]\nlr = [0.1, 0.01]\n[[zip]]\nloss.margin = [0.3, 0.4, 0.5]";
    assert_eq!(names(groups).len(), 6);
}

#[test]
fn the_order_is_that_of_the_file() {
    let text = "[grid]\ntrain.batch_size = [64, 128]\nloss.margin = [0.3, 0.4]\nlr = [0.1]\n\
                train.epochs = [1, 2]";
    assert_eq!(names(text)[1], "batch_size=64,margin=0.3,epochs=2");
    assert_eq!(
        expanded(text).unwrap().axes,
        ["train.batch_size", "loss.margin", "optimizer.lr", "train.epochs"]
    );
}

#[test]
fn whole_tables_and_conditional_axes() {
    let text = "[grid]\nloss = [{ kind = \"arcface\", scale = 32 }, { kind = \"cosface\" }]\n\
                \"loss.margin\" = { values = [0.3, 0.5], when = 'loss.kind == \"arcface\"' }";
    let expansion = expanded(text).unwrap();
    let names: Vec<&str> = expansion.trials.iter().map(|trial| trial.name.as_str()).collect();
    assert_eq!(names, ["loss=arcface,margin=0.3", "loss=arcface,margin=0.5", "loss=cosface"]);
    assert_eq!(expansion.notes.len(), 1);
    assert!(
        expansion.notes[0].starts_with("1 combination is configured as another"),
        "{:?}",
        expansion.notes
    );
    // On a default of the newly chosen kind, which nothing states.
    let default = "[grid]\nloss.kind = [\"arcface\", \"cosface\"]\n\
                   lr = { values = [0.1, 0.2], when = 'loss.margin > 0.4' }";
    assert_eq!(expanded(default).unwrap().trials.len(), 3);
    // Without a condition the key must exist for each kind.
    let text = "[grid]\nloss.kind = [\"sphereface_r\", \"norm_softmax\"]\nloss.margin = [1.2, 1.3]";
    told(text, &["`loss` of kind \"norm_softmax\" has no key `margin`", "and 1 more", "x.toml"]);
}

#[test]
fn constraints() {
    let text = "skip_if = ['optimizer.lr > 0.05 && train.batch_size < 100']\n\
                [grid]\nlr = [0.1, 0.01]\ntrain.batch_size = [64, 128]";
    let expansion = expanded(text).unwrap();
    assert_eq!((expansion.trials.len(), expansion.notes.len()), (3, 1));
    assert_eq!(expansion.notes[0], "1 combination is left out by `skip_if`");
    told(
        "skip_if = ['optimizer.lr > 0']\n[grid]\nlr = [0.1, 0.2]",
        &["leaves out every trial", "2 combinations"],
    );
    // What is left out need not be valid.
    let text =
        "skip_if = ['loss.kind == \"triplet\"']\n[grid]\nloss.kind = [\"arcface\", \"triplet\"]";
    assert_eq!(expanded(text).unwrap().trials.len(), 1);
    told("skip_if = ['loss.kind > 3']\n[grid]\nlr = [0.1]", &["loss.kind > 3"]);
}

#[test]
fn samples_keep_when_there_are_more() {
    for method in ["random", "sobol"] {
        let text = |count: usize, more: &str| {
            format!(
                "[{method}]\ncount = {count}\n[{method}.space]\nlr = {{ log_uniform = [1e-4, 1e-1] }}\n\
                 loss.margin = {{ uniform = [0.2, 0.6] }}\n{more}"
            )
        };
        let (few, many) = (expanded(&text(5, "")).unwrap(), expanded(&text(50, "")).unwrap());
        assert_eq!((few.trials.len(), many.trials.len()), (5, 50));
        assert_eq!(few.trials[..], many.trials[..5]);
        for trial in &many.trials {
            let lr = trial.set["optimizer.lr"].as_f64().unwrap();
            assert!((1e-4..=1e-1).contains(&lr), "{lr}");
        }
    }
}

#[test]
fn a_union_of_blocks() {
    let text = "seeds = [7]\n[set]\ntrain.epochs = 3\n[grid]\nlr = [0.1, 0.2]\n\
                [[block]]\nset.loss.kind = \"arcface\"\ngrid.lr = [0.1, 0.3]\n\
                [[block]]\nseeds = [7, 8]\ngrid.optimizer.lr = [0.2]";
    let expansion = expanded(text).unwrap();
    let names: Vec<&str> = expansion.trials.iter().map(|trial| trial.name.as_str()).collect();
    let expected = [
        "lr=0.1,seed=7",
        "lr=0.2,seed=7",
        "lr=0.1,loss.kind=arcface,seed=7",
        "lr=0.3,loss.kind=arcface,seed=7",
        "lr=0.2,seed=8",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        expansion.notes,
        ["1 combination is configured as another trial: each configuration runs once"]
    );
    assert!(expansion.base.contains("epochs = 3"), "{}", expansion.base);
}

#[test]
fn set_goes_over_the_table_that_is_there() {
    let text =
        "[[block]]\n[block.set.loss]\nkind = \"cosface\"\nscale = 16\n[block.grid]\nlr = [0.1]";
    let expansion = expanded(text).unwrap();
    let resolver = Resolver::new("x.toml", &expansion.base).unwrap();
    let loss = resolver.trial(&expansion.trials[0].set).unwrap().loss;
    let loss = serde_json::to_value(loss).unwrap();
    assert_eq!((&loss["scale"], &loss["margin"]), (&json!(16.0), &json!(0.2)));
}

#[test]
fn no_axes_is_the_base() {
    assert_eq!(names(""), ["base"]);
    assert_eq!(names("seeds = 2"), ["seed=0", "seed=1"]);
}

#[test]
fn set_of_the_file_and_of_the_command_line() {
    let text = "[set]\ntrain.epochs = 3\nloss = { kind = \"arcface\" }\n[grid]\nlr = [0.1, 0.2]";
    let (_folder, file) = parsed(text).unwrap();
    let expansion = expand(&file, &["epochs=5".into()]).unwrap();
    assert!(expansion.base.contains("epochs = 5") && expansion.base.contains("\"arcface\""));
    assert!(expansion.base.contains("name = \"base\""), "{}", expansion.base);
    let error = expand(&file, &["lr=5".into()]).unwrap_err();
    assert!(error.to_string().contains("`--set lr=5`"), "{error}");
    told("[set]\ntrain.epoch = 3", &["did you mean `train.epochs`?", "x.toml:3"]);
    told("[set]\ntrain.epochs = 0", &["must be at least 1", "x.toml:3"]);
}

#[test]
fn tpe_is_proposed_later() {
    let text = "[grid]\nloss.kind = [\"arcface\", \"cosface\"]\n[tpe]\ncount = 3\n\
                [tpe.space]\nlr = { log_uniform = [1e-4, 1e-1] }";
    let expansion = expanded(text).unwrap();
    let names: Vec<&str> = expansion.trials.iter().map(|trial| trial.name.as_str()).collect();
    assert_eq!(names[..2], ["loss.kind=arcface,tpe-0000", "loss.kind=arcface,tpe-0001"]);
    assert_eq!(expansion.trials.len(), 6);
    let ids: HashSet<&str> = expansion.trials.iter().map(|trial| trial.id.as_str()).collect();
    assert_eq!(ids.len(), 6);
    assert_eq!(expansion.trials[4].set, *json!({"loss.kind": "cosface"}).as_object().unwrap());
    assert_eq!(expansion.axes, ["loss.kind", "optimizer.lr"]);
    let more = expanded(&text.replace("count = 3", "count = 4")).unwrap();
    for trial in &expansion.trials {
        assert!(more.trials.contains(trial), "{trial:?}");
    }
}

#[test]
fn keys_that_do_not_exist() {
    told("[grid]\noptimizer.lrr = [0.1]", &["did you mean `optimizer.lr`?", "x.toml:3:1"]);
    told(
        "[random]\ncount = 1\n[random.space]\nmargn = { uniform = [0, 1] }",
        &["did you mean `loss.margin`?"],
    );
    told(
        "[grid]\nlr = [0.1]\noptimizer.lr = [0.2]",
        &["`optimizer.lr` is stated twice", "x.toml:4"],
    );
    told("seeds = 2\n[grid]\nseed = [1]", &["`seed` is stated twice"]);
}

#[test]
fn values_that_are_wrong() {
    told(
        "[grid]\nlr = [0.1, -1]\nmargin = [0.1, 0.2]",
        &["must be 0 or greater", "loss.margin=0.1", "and 1 more", "x.toml:3:12", "1 error"],
    );
    told("[grid]\ntrain.epochs = [\"many\"]", &["expected an integer", "the string \"many\""]);
    told("[grid]\nloss.kind = [\"arcfce\"]", &["did you mean \"arcface\"?", "x.toml:3"]);
    told("[grid]\ntrain.epochs.x = [1]", &["there is no key `train.epochs.x`"]);
    let many = format!("[grid]\nlr = {:?}", (1..=9).map(|i| -i).collect::<Vec<_>>());
    told(&many, &["4 further mistakes are not shown"]);
    told(
        "[grid]\nbackbone.frozen = [true]\nlr = [0.1]\nloss.kind = [\"triplet\"]",
        &["sampler.kind", "loss.kind=\"triplet\""],
    );
}

#[test]
fn too_many() {
    let text =
        "seeds = 100000\n[random]\ncount = 100000\n[random.space]\nlr = { uniform = [0.1, 0.2] }";
    told(text, &["more than 1000000 combinations"]);
}

#[test]
fn a_base_that_is_missing_or_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| SweepFile::parse(&folder.path().join("x.toml"), text).unwrap();
    let error = expand(&read("base = \"none.toml\""), &[]).unwrap_err();
    assert!(error.to_string().contains("x.toml: `base`: there is no file"), "{error}");
    std::fs::write(folder.path().join("bad.toml"), "[train]\nepochs = 0").unwrap();
    let error = expand(&read("base = \"bad.toml\""), &[]).unwrap_err();
    assert!(
        error.to_string().contains("bad.toml") && error.to_string().contains("train.epochs"),
        "{error}"
    );
    std::fs::write(folder.path().join("sweep.toml"), "base = \"b.toml\"\n[grid]\nlr = [1]")
        .unwrap();
    let error = expand(&read("base = \"sweep.toml\""), &[]).unwrap_err();
    assert!(error.to_string().contains("sweep.toml is a sweep, not an experiment"), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn shipped_sweeps() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let file = SweepFile::read(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(file.text.starts_with("# For: "), "{}", path.display());
        let expansion = expand(&file, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert!(expansion.notes.is_empty(), "{:?}", expansion.notes);
        found.push((file.name, expansion.trials.len()));
    }
    found.sort();
    let expected = [("cosface-grid", 27), ("losses", 27), ("quickstart-sweep", 12)];
    assert_eq!(found, expected.map(|(name, trials)| (name.to_string(), trials)));
}

/// 10,000 trials, for a profile: `cargo test --release ten_thousand -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn ten_thousand() {
    let text = "seeds = 10\nskip_if = ['optimizer.lr > 5']\n[grid]\nlr = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]\n\
                loss.kind = [\"arcface\", \"cosface\"]\n\
                loss.margin = { values = [0.1, 0.2, 0.3, 0.4, 0.5], when = 'loss.kind == \"arcface\"' }\n\
                [random]\ncount = 10\n[random.space]\nloss.scale = { uniform = [16, 96] }";
    let (_folder, file) = parsed(text).unwrap();
    let started = std::time::Instant::now();
    let expansion = expand(&file, &[]).unwrap();
    println!("{} trials, {:?}: {:.3?}", expansion.trials.len(), expansion.notes, started.elapsed());
}
