use super::*;
use crate::sweep::Goal;
use serde_json::json;

fn parse(text: &str) -> Result<SweepFile> {
    SweepFile::parse(Path::new("sweeps/x.toml"), text)
}

#[track_caller]
fn told(text: &str, parts: &[&str]) {
    let error = parse(&format!("base = \"b.toml\"\n{text}")).expect_err(text);
    let shown = error.to_string();
    assert_eq!(error.exit_code(), 2, "{shown}");
    for part in parts {
        assert!(shown.contains(part), "{text}\nlacks {part:?}:\n{shown}");
    }
}

#[test]
fn all_tables() {
    let text = r#"
name = "mine"
base = "../experiments/cosface.toml"
seeds = [0, 1, 2]
skip_if = ["optimizer.lr > 0.05 && train.batch_size < 64"]
objective = { metric = "unseen/accuracy", goal = "maximize", value = "best" }
[run]
jobs = 2
[retry]
failed = 3
[pruning]
kind = "none"
[launcher.slurm]
partition = "gpu"
[set]
train.epochs = 3
[grid]
optimizer.lr = [0.1, 0.01]
loss = [{ kind = "arcface", margin = 0.5 }, { kind = "cosface" }]
"loss.margin" = { values = [0.3, 0.5], when = 'loss.kind == "arcface"' }
[grid.scheduler]
kind = ["constant"]
[[zip]]
train.batch_size = [64, 128]
seed = [1, 2]
[random]
count = 20
seed = 5
[random.space]
optimizer.momentum = { log_uniform = [1e-4, 1e-1] }
loss.margin = { uniform = [0.2, 0.6], when = 'loss.kind == "arcface"' }
train.batch_size = { int = [32, 256], step = 32 }
head.embedding_dim = { choice = [128, 256] }
loss.scale = { normal = [64, 8], min = 1 }
"#;
    let file = parse(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((file.name.as_str(), file.objective.goal), ("mine", Goal::Maximize));
    assert!(file.base.ends_with("experiments/cosface.toml") && file.base.is_absolute());
    assert_eq!((file.run.jobs, file.retry.failed), (2, 3));
    assert_eq!(file.launcher.slurm.partition, "gpu");
    let [block] = &file.blocks[..] else { panic!("{:?}", file.blocks) };
    let keys: Vec<&str> = block.grid.iter().map(|axis| axis.key.as_str()).collect();
    assert_eq!(keys, ["optimizer.lr", "loss", "loss.margin", "scheduler.kind"]);
    assert_eq!(block.grid[1].values[1], json!({"kind": "cosface"}));
    assert_eq!(block.grid[2].values, [json!(0.3), json!(0.5)]);
    assert!(block.grid[2].when.is_some());
    assert_eq!(block.zips[0].len(), 2);
    assert_eq!((block.seeds.as_ref().unwrap().values.len(), block.skip_if.len()), (3, 1));
    let search = block.search.as_ref().unwrap();
    assert_eq!((search.count, search.seed, search.space.len()), (20, 5, 5));
    assert_eq!(search.space[2].distribution, Distribution::Int { low: 32, high: 256, step: 32 });
    assert_eq!(
        search.space[4].distribution,
        Distribution::Normal { mean: 64.0, std: 8.0, min: Some(1.0), max: None }
    );
    assert_eq!((file.set[0].key.as_str(), &file.set[0].value), ("train.epochs", &json!(3)));
}

#[test]
fn nothing_of_the_environment() {
    // A sweep's `base` is an experiment, not a layer of the sweep, and need not exist to be read.
    let file = parse("base = \"none.toml\"").unwrap();
    assert_eq!((file.name.as_str(), file.blocks.len()), ("x", 1));
    assert!(parse("").unwrap_err().to_string().contains("`base` must be given"));
}

#[test]
fn all_mistakes_at_once_with_places() {
    let text = "[objective]\ngaol = \"maximize\"\n[run]\njobs = -1\n[grid]\nlr = []\n";
    told(
        text,
        &[
            "did you mean `objective.goal`?",
            "x.toml:3",
            "`run.jobs`",
            "axis without values",
            "3 errors",
        ],
    );
}

#[test]
fn axes() {
    told("[grid]\nlr = []", &["`grid.lr` is an axis without values", "x.toml:3"]);
    told("[grid]\nlr = 0.1", &["the values of an axis are a list", "[set]"]);
    told("[grid]", &["`grid` is empty"]);
    told("[zip]\nlr = [1, 2]\nmargin = [1]", &["not equally long", "`lr` has 2", "`margin` has 1"]);
    told("[grid]\nlr = { values = [1], wen = \"x\" }", &["did you mean `when`?"]);
    told(
        "[grid]\nlr = { values = [1], when = \"optimizer.lr >\" }",
        &["is no condition", "grid.lr.when"],
    );
    told(
        "[grid]\nlr = { values = [1], when = \"loss.knd == 'x'\" }",
        &["did you mean `loss.kind`?"],
    );
    told("skip_if = [\"a &&\"]", &["skip_if[0]", "is no condition"]);
    told("gird.lr = [1]", &["did you mean `grid`?"]);
    told("[block]\ngrid.lr = [1]", &["two brackets"]);
    told("[[block]]\nobjective = 1", &["`block[0]` has no key `objective`"]);
}

#[test]
fn values_no_key_takes() {
    for value in ["nan", "inf", "-inf"] {
        told(&format!("[grid]\nlr = [{value}]"), &["`grid.lr[0]`", "finite"]);
    }
    told("[grid]\nlr = [2024-01-01]", &["date", "2024-01-01"]);
    told("[set]\nname = 10:00:00", &["`set.name`", "10:00:00"]);
    told(
        "[grid]\ndata.root = [\"${NO_SUCH_VARIABLE_HERE}\"]",
        &["NO_SUCH_VARIABLE_HERE is not defined"],
    );
    told("seeds = 0", &["`seeds` is 0"]);
    told("seeds = []", &["`seeds` is empty"]);
    told("seeds = [-1]", &["`seeds[0]`: expected an integer of 0 or greater"]);
    told("seeds = \"two\"", &["`seeds`: expected an integer"]);
    told("name = \"a/b\"", &["no name for a folder"]);
}

#[test]
fn searches() {
    let space = |text: &str| format!("[random]\ncount = 2\n[random.space]\nlr = {text}");
    told("[random]\ncount = 2", &["`random` has no `space`"]);
    told("[random]\ncount = 0\nspace.lr = { uniform = [0, 1] }", &["`random.count` is 0"]);
    told("[random]\nspace.lr = { uniform = [0, 1] }", &["`random.count` must be between"]);
    told(
        "[tpe]\ncount = 1\ngama = 0.1\nspace.lr = { uniform = [0, 1] }",
        &["did you mean `tpe.gamma`?"],
    );
    told(&space("{ unifrm = [0, 1] }"), &["did you mean `uniform`?"]);
    told(&space("{ min = 1 }"), &["needs one distribution, found 0"]);
    told(&space("{ uniform = [0, 1], choice = [1] }"), &["needs one distribution, found 2"]);
    told(&space("[1, 2]"), &["a distribution is a table"]);
    told(&space("{ uniform = [1, 1] }"), &["low of 1 that is not below its high of 1"]);
    told(&space("{ uniform = [1, nan] }"), &["random.space.lr.uniform[1]"]);
    told(&space("{ uniform = [1] }"), &["must be [low, high]"]);
    told(&space("{ log_uniform = [0, 1] }"), &["low of 0, whose logarithm"]);
    told(&space("{ int = [5, 2] }"), &["low of 5 above its high of 2"]);
    told(&space("{ int = [1, 2.5] }"), &["expected an integer"]);
    told(&space("{ int = [1, 5], step = 0 }"), &["step of 0"]);
    told(&space("{ int = [0, 5], log = true }"), &["whose logarithm"]);
    told(&space("{ int = [1, 5], log = true, step = 2 }"), &["not both"]);
    told(&space("{ uniform = [1, 5], step = 2 }"), &["`step` does not go with `uniform`"]);
    told(&space("{ choice = [] }"), &["choice of nothing"]);
    told(&space("{ normal = [0, 0] }"), &["standard deviation of 0"]);
    told(&space("{ normal = [0, 1], min = 2, max = 1 }"), &["`min` that is not below its `max`"]);
    told(&space("{ uniform = [0, 1], when = 3 }"), &["must be a string"]);
    let both = "[random]\ncount = 1\nspace.lr = { uniform = [0, 1] }\n[sobol]\ncount = 1";
    told(both, &["`random` and `sobol` can't be combined", "[[block]]"]);
}

#[test]
fn an_experiment_is_no_sweep() {
    let error = parse("base = \"b.toml\"\n[loss]\nkind = \"arcface\"").unwrap_err();
    assert!(error.to_string().contains("x.toml is an experiment, not a sweep"), "{error}");
}

#[test]
fn a_longer_key_beside_a_whole_table() {
    told(
        "[grid]\nloss = [{ kind = \"cosface\" }]\nloss.margin = [0.1]",
        &["write the longer key in quotes"],
    );
    told("grid = [", &["this is not TOML"]);
}
