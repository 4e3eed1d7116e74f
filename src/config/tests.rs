//! The engine on a small schema.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

crate::config_struct! {
    /// Plain softmax.
    pub struct Plain {}
}

crate::config_struct! {
    /// Additive angular margin.
    ///
    /// Second paragraph.
    pub struct Angular {
        /// Scale of the logits.
        pub scale: f64 = 64.0, positive();
        /// Margin in radians.
        pub margin: f64 = 0.5, between(0.0, 3.0), that("other than 1", |m| *m != 1.0);
    }
}

crate::config_family! {
    /// The loss.
    pub enum Loss("loss") {
        Plain(Plain) = "plain",
        Angular(Angular) = "angular",
    }
}

crate::config_choice! {
    /// Mixed precision.
    pub enum Amp {
        /// float32
        Off = "off",
        /// bfloat16
        Bf16 = "bf16",
    }
}

crate::config_struct! {
    /// Training.
    pub struct Train {
        /// Epochs.
        pub epochs: usize = 10, at_least(1);
        pub amp: Amp = Amp::Off;
        pub r#type: String = "x".into();
    }
}

#[test]
fn macros_declare_defaults_listing_and_serialization() {
    assert_eq!(Angular::default(), Angular { scale: 64.0, margin: 0.5 });
    assert_eq!(Loss::default(), Loss::Plain(Plain {}));
    assert_eq!(Loss::Angular(Angular::default()).kind(), "angular");
    assert_eq!(Amp::Bf16.to_string(), "bf16");
    let table = Angular::table();
    assert_eq!(first_paragraph(&table.doc), "Additive angular margin.");
    assert_eq!(table.key_names(), ["scale", "margin"]);
    assert_eq!(table.keys[1].rules, ["between 0 and 3", "other than 1"]);
    assert_eq!(table.keys[0].default, toml::Value::Float(64.0));
    assert_eq!(Train::table().key_names(), ["epochs", "amp", "type"]);
    let text = toml::to_string(&Loss::Angular(Angular::default())).unwrap();
    assert_eq!(text, "kind = \"angular\"\nscale = 64.0\nmargin = 0.5\n");
}

crate::config_struct! {
    /// Stops early.
    pub struct EarlyStopping {
        pub patience: usize = 0;
    }
}

crate::config_struct! {
    /// Settings of the optimizer.
    pub struct Optimizer {
        pub lr: f64 = 0.1, positive();
        pub stop: EarlyStopping = EarlyStopping::default();
        pub groups: Vec<Train> = Vec::new();
        pub note: String = String::new();
    }
}

crate::config_struct! {
    /// Folders.
    pub struct Folders {
        pub datasets: PathBuf = "datasets".into();
    }
}

crate::config_struct! {
    pub struct Root {
        pub name: String = String::new();
        pub loss: Loss = Loss::default();
        pub train: Train = Train::default();
        pub optimizer: Optimizer = Optimizer::default();
        pub paths: Folders = Folders::default();
        pub root: DatasetPath = DatasetPath::default();
        pub output: PathBuf = PathBuf::new();
        pub sets: BTreeMap<String, Loss> = BTreeMap::new();
    }
}

const DEFAULTS: &str = "[loss]\nkind = \"plain\"\n[train]\nepochs = 7\n";

fn request(sets: &[&str], environment: &[(&str, &str)]) -> Request {
    Request {
        file: "x.toml".into(),
        sets: sets.iter().map(ToString::to_string).collect(),
        environment: environment.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
    }
}

fn load(text: &str, sets: &[&str], environment: &[(&str, &str)]) -> crate::Result<Loaded<Root>> {
    load_text(&request(sets, environment), text, DEFAULTS)
}

/// The messages and helps of what is wrong, one line each.
fn mistakes(text: &str, sets: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    match load(text, sets, environment) {
        Err(crate::Error::Config(diagnostics)) => {
            let line =
                |d: &Diagnostic| format!("{} | {}", d.message, d.help.clone().unwrap_or_default());
            diagnostics.list.iter().map(line).collect()
        }
        other => panic!("expected diagnostics, got {other:?}"),
    }
}

#[test]
fn layers_override_each_other_in_order() {
    let file = "[train]\nepochs = 8\n";
    let epochs = |text: &str, sets: &[&str], environment: &[(&str, &str)]| {
        load(text, sets, environment).unwrap().experiment.train.epochs
    };
    assert_eq!(epochs("", &[], &[]), 7);
    assert_eq!(epochs(file, &[], &[]), 8);
    let environment = [("ARCRUN_SET_TRAIN__EPOCHS", "9"), ("ARCRUN_HOME", "x")];
    assert_eq!(epochs(file, &[], &environment), 9);
    assert_eq!(epochs(file, &["epochs=10"], &environment), 10);
    assert_eq!(epochs(file, &["epochs=10", "train.epochs=11"], &environment), 11);
    // A layer that states one key of a table leaves the others.
    let both = load("[loss]\nkind = \"angular\"\nscale = 3", &["margin=0.1"], &[]).unwrap();
    assert_eq!(both.experiment.loss, Loss::Angular(Angular { scale: 3.0, margin: 0.1 }));
}

#[test]
fn another_kind_replaces_the_table() {
    let file = "[loss]\nkind = \"angular\"\nscale = 3\n";
    let loss = |sets: &[&str]| load(file, sets, &[]).unwrap().experiment.loss;
    assert_eq!(loss(&["loss.kind=plain"]), Loss::Plain(Plain {}));
    assert_eq!(loss(&["loss.kind=angular"]), Loss::Angular(Angular { scale: 3.0, margin: 0.5 }));
    // The order of the options does not matter.
    let plain = "[loss]\nkind = \"plain\"\n";
    let set = load(plain, &["loss.margin=0.2", "loss.kind=angular"], &[]).unwrap().experiment;
    assert_eq!(set.loss, Loss::Angular(Angular { scale: 64.0, margin: 0.2 }));
    assert_eq!(
        mistakes(plain, &["loss.margin=0.2"], &[]),
        [
            "`loss` of kind \"plain\" has no key `margin` | this kind has no keys; `margin` is a key \
          of the kinds \"angular\""
        ]
    );
    let replaced = load(file, &["loss.kind=plain"], &[]).unwrap().provenance;
    assert!(replaced.layers[1].entries["loss.scale"].replaced);
    assert!(replaced.winner("loss.scale").is_none());
}

#[test]
fn last_parts_find_the_shallowest_key() {
    let set = |set: &str| load("", &[set], &[]).unwrap().experiment;
    assert_eq!(set("lr=1").optimizer.lr, 1.0);
    assert_eq!(set("stop.patience=2").optimizer.stop.patience, 2);
    assert_eq!(set("patience=2").optimizer.stop.patience, 2);
    assert_eq!(set("note=123").optimizer.note, "123");
    assert_eq!(set("sets.a.kind=angular").sets["a"], Loss::Angular(Angular::default()));
    let groups = set("groups=[{epochs = 2}]").optimizer.groups;
    assert_eq!(groups, [Train { epochs: 2, ..Train::default() }]);
    let file = "[sets.a]\nkind = \"angular\"\n[sets.b]\nkind = \"angular\"\n";
    assert_eq!(
        mistakes(file, &["margin=0.2", "ephocs=3", "lr"], &[]),
        [
            "`--set lr` has no value | write --set lr=VALUE",
            "`margin` is ambiguous | write one of `sets.a.margin`, `sets.b.margin`",
            "there is no key `ephocs` | did you mean `train.epochs`?",
        ]
    );
}

#[test]
fn all_mistakes_are_found_in_one_pass() {
    let file = r#"
lr = 1
name = 3
[loss]
kind = "angulr"
[train]
epochs = 1.0
amp = "bf61"
epcohs = 3
[optimizer]
lr = "abc"
note = "${NOWHERE}"
groups = [{ epochs = 0 }]
[optimizer.stop]
patience = -1
[sets.a]
margin = 1
"#;
    assert_eq!(
        mistakes(file, &[], &[]),
        [
            "unknown key `lr` | did you mean `optimizer.lr`?",
            "`name`: expected a string, found the integer 3 | ",
            "`loss.kind`: there is no loss of kind \"angulr\" | did you mean \"angular\"? There \
             are \"plain\", \"angular\"",
            "`train` has no key `epcohs` | did you mean `train.epochs`?",
            "`train.epochs`: expected an integer of 0 or greater, found the number 1.0 | ",
            "`train.amp` cannot be \"bf61\" | did you mean \"bf16\"? There are \"off\", \"bf16\"",
            "`optimizer.lr`: expected a number, found the string \"abc\" | ",
            "`optimizer.stop.patience`: expected an integer of 0 or greater, found the integer -1 | ",
            "`optimizer.groups[0].epochs` is 0, must be at least 1 | ",
            "`optimizer.note`: the variable NOWHERE is not defined | set NOWHERE in the \
             environment; `$${` writes a plain `${`",
            "`sets.a` needs a `kind` | the kinds of loss: \"plain\", \"angular\"",
        ]
    );
}

#[test]
fn places_point_into_files_and_options() {
    let file = "[train]\nepochs = 3\n[loss]\nkind = \"plain\"\n";
    let provenance = load(file, &["lr=2"], &[]).unwrap().provenance;
    assert_eq!(provenance.locate("train.epochs").unwrap().position(), "x.toml:2:10");
    assert_eq!(provenance.locate("train.amp").unwrap().position(), "x.toml:1:2");
    assert_eq!(provenance.locate("optimizer.lr").unwrap().position(), "--set lr=2");
    assert!(provenance.locate("output").is_none());
    let shown = provenance.error("train.epochs", "too few", Some("train longer"));
    assert_eq!((shown.key.as_str(), shown.help.as_deref()), ("train.epochs", Some("train longer")));
}

#[test]
fn paths_start_at_the_file_that_states_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    std::fs::create_dir_all(folder.path().join("base/faces")).unwrap();
    write("base/b.toml", "output = \"out\"\nroot = \"faces\"\n[train]\nepochs = 2\n");
    write("middle.toml", "base = \"base/b.toml\"\n[train]\namp = \"bf16\"\n");
    let file = write("x.toml", "base = \"${M}.toml\"\nname = \"x\"\n");
    let mut request = Request { file: file.clone(), ..request(&[], &[("M", "middle")]) };
    let loaded: Loaded<Root> = load_as(&request, DEFAULTS).unwrap();
    let root = loaded.experiment.clone();
    assert_eq!(root.output, folder.path().join("base/out"));
    assert_eq!(root.root.resolve(&root.paths.datasets), folder.path().join("base/faces"));
    assert_eq!((root.train.epochs, root.train.amp), (2, Amp::Bf16));
    let names: Vec<&str> = loaded.provenance.layers.iter().map(|l| l.name.as_str()).collect();
    let base = "the base file";
    assert_eq!(names[..4], ["the defaults", base, base, "the experiment file"]);

    let text = to_toml(&root);
    let again: Loaded<Root> = load_text(&self::request(&[], &[]), &text, DEFAULTS).unwrap();
    assert_eq!(again.experiment, root);
    assert_eq!(to_toml(&again.experiment), text);

    request.sets = vec!["output=here".into()];
    let set: Loaded<Root> = load_as(&request, DEFAULTS).unwrap();
    assert_eq!(set.experiment.output, std::env::current_dir().unwrap().join("here"));

    write("base/b.toml", "base = \"../x.toml\"\n");
    let cycle = load_as::<Root>(&request, DEFAULTS).unwrap_err().to_string();
    assert!(cycle.contains("`base` comes back to"), "{cycle}");
    write("base/b.toml", "base = \"../x.tml\"\n");
    let missing = load_as::<Root>(&request, DEFAULTS).unwrap_err().to_string();
    assert!(missing.contains("there is no file") && missing.contains("x.toml?"), "{missing}");
}

#[test]
fn resolved_files_read_back_to_the_same() {
    let file = r#"
name = "a $${b} \"q\""
[loss]
kind = "angular"
margin = 2
[optimizer]
groups = [{ epochs = 2, type = "t" }]
[sets.z]
kind = "plain"
[sets.a]
kind = "angular"
"#;
    let first = load(file, &["amp=bf16"], &[]).unwrap().experiment;
    assert_eq!(first.name, "a ${b} \"q\"");
    let text = to_toml(&first);
    assert_eq!(load(&text, &[], &[]).unwrap().experiment, first, "{text}");
    assert_eq!(to_toml(&load(&text, &[], &[]).unwrap().experiment), text);
    let default = load("", &[], &[]).unwrap().experiment;
    assert_eq!(load(&to_toml(&default), &[], &[]).unwrap().experiment, default);
}
