//! How mistakes in a configuration look: the whole text that the user sees.

use std::path::PathBuf;

use arcrun::config::{Loaded, Request, load_text, tables};
use insta::assert_snapshot;

arcrun::config_struct! {
    /// Plain softmax.
    pub struct CrossEntropy {}
}

arcrun::config_struct! {
    /// Additive angular margin.
    pub struct ArcFace {
        /// Scale of the logits.
        pub scale: f64 = 64.0, positive();
        /// Margin in radians.
        pub margin: f64 = 0.5, between(0.0, 3.2);
    }
}

arcrun::config_family! {
    /// What training minimises.
    pub enum Loss("loss") {
        CrossEntropy(CrossEntropy) = "cross_entropy",
        ArcFace(ArcFace) = "arcface",
    }
}

arcrun::config_struct! {
    /// How the weights follow.
    pub struct Optimizer {
        /// Learning rate.
        pub lr: f64 = 0.1, positive();
    }
}

arcrun::config_struct! {
    /// The root of these tests.
    pub struct Root {
        pub name: String = String::new();
        pub loss: Loss = Loss::default();
        pub optimizer: Optimizer = Optimizer::default();
        pub train: tables::Train = tables::Train::default();
        pub record: tables::Record = tables::Record::default();
    }
}

const DEFAULTS: &str = "[loss]\nkind = \"cross_entropy\"\n";

fn load(text: &str, sets: &[&str], environment: &[(&str, &str)]) -> arcrun::Result<Loaded<Root>> {
    let request = Request {
        file: PathBuf::from("x.toml"),
        sets: sets.iter().map(ToString::to_string).collect(),
        environment: environment.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
    };
    load_text(&request, text, DEFAULTS)
}

fn shown(text: &str, sets: &[&str], environment: &[(&str, &str)]) -> String {
    match load(text, sets, environment) {
        Err(arcrun::Error::Config(diagnostics)) => diagnostics.render(false),
        other => panic!("expected diagnostics, got {other:?}"),
    }
}

#[test]
fn syntax() {
    assert_snapshot!(shown("name = \"x\"\n[train\nepochs = 3\n", &[], &[]));
}

#[test]
fn unknown_key() {
    assert_snapshot!(shown("[train]\nepcohs = 3\n", &[], &[]));
}

#[test]
fn key_of_another_table() {
    assert_snapshot!(shown("lr = 0.1\n", &[], &[]));
}

#[test]
fn key_of_another_kind() {
    assert_snapshot!(shown("[loss]\nkind = \"cross_entropy\"\nmargin = 0.5\n", &[], &[]));
}

#[test]
fn unknown_kind() {
    assert_snapshot!(shown("[loss]\nkind = \"arcfaec\"\nmargin = 0.5\n", &[], &[]));
}

#[test]
fn wrong_type() {
    assert_snapshot!(shown("[train]\nepochs = 1.5\n", &[], &[]));
}

#[test]
fn out_of_range() {
    assert_snapshot!(shown("[loss]\nkind = \"arcface\"\nmargin = 4\n", &[], &[]));
}

#[test]
fn wrong_choice() {
    assert_snapshot!(shown("[train]\namp = \"bf61\"\n", &[], &[]));
}

#[test]
fn wandb_mode() {
    assert_snapshot!(shown("[record]\nwandb = { mode = \"onlin\" }\n", &[], &[]));
}

#[test]
fn wrong_option() {
    assert_snapshot!(shown("", &["lr=abc"], &[]));
}

#[test]
fn option_for_another_kind() {
    assert_snapshot!(shown("", &["loss.margin=0.3"], &[]));
}

#[test]
fn unknown_option_key() {
    assert_snapshot!(shown("", &["optimizer.lrr=0.3"], &[]));
}

#[test]
fn wrong_variable() {
    assert_snapshot!(shown("", &[], &[("ARCRUN_SET_TRAIN__EPOCHS", "many")]));
}

#[test]
fn undefined_variable() {
    assert_snapshot!(shown("name = \"${NOWHERE}\"\n", &[], &[]));
}

#[test]
fn missing_base() {
    assert_snapshot!(shown("base = \"/nowhere/base.toml\"\n", &[], &[]));
}

#[test]
fn everything_at_once() {
    let text = "nam = \"x\"\n[loss]\nkind = \"arcface\"\nscale = -1\n[train]\nepochs = 0\n";
    assert_snapshot!(shown(text, &["lr=0", "batch_size=x"], &[]));
}

#[test]
fn explanations_name_every_layer() {
    let text = "[loss]\nkind = \"arcface\"\nmargin = 0.4\n[train]\nepochs = 3\n";
    let environment = [("ARCRUN_SET_TRAIN__EPOCHS", "4")];
    let loaded = load(text, &["epochs=5"], &environment).unwrap();
    assert_snapshot!(arcrun::cli::explain::explain(&loaded, "epochs").unwrap());
    let replaced = load(text, &["loss.kind=cross_entropy"], &[]).unwrap();
    assert_snapshot!(arcrun::cli::explain::explain(&replaced, "loss").unwrap());
    assert!(arcrun::cli::explain::explain(&loaded, "nothing.here").is_err());
}

#[test]
fn parts_list_kinds_and_keys() {
    use arcrun::cli::parts;
    use arcrun::config::Family;
    let families = [Loss::family()];
    assert_snapshot!(parts::overview(&families));
    assert_snapshot!(parts::family(&families, "loss").unwrap());
    assert!(parts::family(&families, "los").is_err());
}
