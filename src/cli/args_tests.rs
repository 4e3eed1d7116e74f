//! Spellings of the command line.

use super::*;
use crate::checkpoint::Name;

crate::config_struct! {
    pub struct Margin {
        pub margin: f64 = 0.5;
    }
}
crate::config_struct! {
    pub struct None_ {}
}
crate::config_family! {
    pub enum Loss("loss") { None(None_) = "none", Margin(Margin) = "margin" }
}
crate::config_struct! {
    pub struct Root {
        pub loss: Loss = Loss::default();
    }
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let argv = line.split(' ').map(String::from).collect();
    super::parse(argv, &<Root as crate::config::Field>::shape())
}

#[test]
fn training_is_the_command_without_a_name() {
    let line = "run -q a.toml b.toml --set lr=1 --set a_b=2 --continue_train min_loss --run_dir d";
    let cli = parse(line).unwrap();
    assert!(cli.command.is_none() && cli.quiet);
    assert_eq!(cli.train.experiments, ["a.toml", "b.toml"]);
    assert_eq!(cli.train.settings.sets(), ["lr=1", "a_b=2"]);
    assert_eq!(cli.train.continue_train, Some(Continue::Named(Name::MinLoss)));
    assert_eq!(cli.train.run_dir, Some("d".into()));
}

#[test]
fn a_continued_run_has_the_options_of_the_first() {
    let again = |line: &str, ranks| parse(line).unwrap().train.again(ranks).join(" ");
    let line = "run a.toml --lr 1 --time-limit 3h --run-dir d --device cpu --overfit-one-batch";
    assert_eq!(
        again(line, None),
        "--set optimizer.lr=1 --set train.overfit_batches=1 --set train.device=cpu --time-limit 3h"
    );
    let line = "run a.toml -q --profile --continue-train auto";
    assert_eq!(again(line, Some(2)), "--nproc 2 --profile --profile-steps 50");
    let line = "run a.toml --profile=p/x.json --profile-steps 7";
    assert_eq!(again(line, None), "--profile=p/x.json --profile-steps 7");
}

#[test]
fn other_trainers_spellings_become_settings() {
    let line = "run --batch_size 256 --epochs=5 --lr 1e-2 --seed 3 --device cpu x_y.toml";
    let cli = parse(line).unwrap();
    assert_eq!(
        cli.train.settings.sets(),
        [
            "train.batch_size=256",
            "train.epochs=5",
            "optimizer.lr=1e-2",
            "seed=3",
            "train.device=cpu"
        ]
    );
    assert_eq!(cli.train.experiments, ["x_y.toml"]);
}

#[test]
fn a_commands_own_options_are_no_settings() {
    let cli = parse("run bench loader a.toml --epochs 7 --batch-size 32").unwrap();
    let Some(Command::Bench(BenchCommand::Loader(args))) = cli.command else {
        panic!("another command")
    };
    assert_eq!(args.epochs, 7);
    assert_eq!(args.settings.sets(), ["train.batch_size=32"]);
}

#[test]
fn commands() {
    let cli = parse("run data synth out --seed 4").unwrap();
    let Some(Command::Data(DataCommand::Synth(args))) = cli.command else { panic!() };
    assert_eq!(args.seed, 4);
    let cli = parse("run data pack x.toml --output x.pack --decoded --size 112x96").unwrap();
    let Some(Command::Data(DataCommand::Pack(args))) = cli.command else { panic!() };
    assert_eq!(args.size.map(|size| (size.height, size.width)), Some((112, 96)));
    assert!(parse("run data pack x.toml --output x.pack --size 112x96").is_err());
    assert!(parse("run data pack x.toml --output x.pack --decoded --size 112").is_err());
    let cli = parse("run explain lr x.toml --set lr=1 -v").unwrap();
    assert!(matches!(cli.command, Some(Command::Explain { .. })) && cli.verbose);
    assert!(parse("run check").is_err());
    assert_eq!(parse("run --dry-run").unwrap_err().exit_code(), 2);
    assert_eq!(parse("run --help").unwrap_err().exit_code(), 0);
}

#[test]
fn unknown_options_suggest_settings() {
    let error = parse("run x.toml --margin 0.3").unwrap_err();
    assert!(error.to_string().contains("did you mean --set loss.margin=0.3?"), "{error}");
    assert_eq!(error.exit_code(), 2);
    let error = parse("run x.toml --margn=0.3").unwrap_err();
    assert!(error.to_string().contains("--set loss.margin=0.3?"), "{error}");
}

#[test]
fn patterns_and_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.toml", "a.toml"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    let files = experiment_files(&[path("*.toml"), path("b.toml")]).unwrap();
    let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.toml", "b.toml", "b.toml"]);
    let none = experiment_files(&[path("c*.toml")]).unwrap_err().to_string();
    assert!(none.contains("no file matches"), "{none}");
    let Error::Input { help, .. } = experiment_files(&[path("b.tml")]).unwrap_err() else {
        panic!()
    };
    assert!(help.unwrap().contains("b.toml"));
}
