//! Every registered part has its fixture, its row in README and an example in docs/parts.md, and
//! every example loads.

use arcrun::config::{Experiment, Family, FamilyInfo, Table, load_str};
use arcrun::data::{DataConfig, SamplerConfig};
use arcrun::loss::LossConfig;
use arcrun::optimizer::OptimizerConfig;
use arcrun::scheduler::SchedulerConfig;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The TOML blocks of a page.
fn examples(page: &str) -> Vec<String> {
    let text = read(page);
    let blocks = text.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// The first cell of README's table of parts that is `name`, as a whole line.
fn row(name: &str) -> String {
    let start = format!("| `{name}` |");
    let readme = read("README.md");
    let row = readme.lines().find(|line| line.starts_with(&start));
    row.unwrap_or_else(|| panic!("README has no row of {name}")).to_owned()
}

#[test]
fn every_example_loads_and_every_part_has_one() {
    let mut shown: [BTreeSet<&str>; 5] = Default::default();
    for example in examples("docs/parts.md") {
        let has_data = example.contains("[data]");
        let data = if has_data { "" } else { "data.kind = 'synthetic_faces'\n" };
        let text = format!("{data}{example}");
        let loaded = load_str::<Experiment>("parts.toml", &text, &[]);
        let experiment = loaded.unwrap_or_else(|e| panic!("{example}\n{e}")).experiment;
        if has_data {
            assert_eq!(arcrun::plan::conflicts(&experiment), [], "{example}");
        }
        let Experiment { data, loss, optimizer, scheduler, sampler, .. } = &experiment;
        let kinds = [data.kind(), loss.kind(), optimizer.kind(), scheduler.kind(), sampler.kind()];
        for ((table, kind), shown) in
            ["data", "loss", "optimizer", "scheduler", "sampler"].iter().zip(kinds).zip(&mut shown)
        {
            if example.contains(&format!("[{table}]")) {
                shown.insert(kind);
            }
        }
    }
    let families = [
        DataConfig::family(),
        LossConfig::family(),
        OptimizerConfig::family(),
        SchedulerConfig::family(),
        SamplerConfig::family(),
    ];
    for (FamilyInfo { name, kinds, .. }, shown) in families.iter().zip(&shown) {
        let row = row(name);
        for kind in kinds {
            assert!(shown.contains(kind.name), "docs/parts.md has no {name} \"{}\"", kind.name);
            let named = row.contains(&format!("`{}`", kind.name));
            assert!(named, "README's row of {name} lacks `{}`", kind.name);
        }
    }
}

/// What an example says fits together too.
#[test]
fn every_example_of_fine_tuning_loads() {
    let examples = examples("docs/finetuning.md");
    assert!(examples.len() >= 9, "{}", examples.len());
    for example in examples {
        let text = format!("data.kind = 'synthetic_faces'\n{example}");
        let loaded = load_str::<Experiment>("finetuning.toml", &text, &[]);
        let experiment = loaded.unwrap_or_else(|e| panic!("{example}\n{e}")).experiment;
        assert_eq!(arcrun::plan::conflicts(&experiment), [], "{example}");
    }
}

#[test]
fn the_example_of_augmentation_loads_and_every_change_is_documented() {
    for example in examples("docs/augmentation.md") {
        let text = format!("data.kind = 'synthetic_faces'\n{example}");
        let loaded = load_str::<Experiment>("augmentation.toml", &text, &[]);
        assert!(loaded.is_ok(), "{example}\n{}", loaded.unwrap_err());
    }
    let page = read("docs/augmentation.md");
    for key in arcrun::data::Augmentation::table().keys {
        match key.default.as_table() {
            Some(table) => {
                assert!(page.contains(&format!("`{}.share = 0.0`", key.name)), "{}", key.name);
                for (name, value) in table.iter().filter(|(name, _)| *name != "share") {
                    assert!(page.contains(&format!("`.{name} = {value}`")), "{}.{name}", key.name);
                }
            }
            None => {
                let stated = format!("`{} = {}`", key.name, key.default);
                assert!(page.contains(&stated), "{stated}");
            }
        }
    }
}

#[test]
fn every_part_is_in_the_table_of_parts() {
    for family in arcrun::config::families() {
        let row = row(family.name);
        for kind in &family.kinds {
            let named = row.contains(&format!("`{}`", kind.name));
            assert!(named, "README's row of {} lacks `{}`", family.name, kind.name);
        }
    }
}

#[test]
fn every_part_has_a_fixture() {
    for family in [LossConfig::family(), OptimizerConfig::family(), SchedulerConfig::family()] {
        let cases = read(&format!("tests/fixtures/{}/cases.json", family.name));
        for kind in &family.kinds {
            let stated = format!("\"kind\": \"{}\"", kind.name);
            assert!(cases.contains(&stated), "no fixture of {} {}", family.name, kind.name);
        }
    }
}

#[test]
fn every_experiment_and_sweep_base_loads() {
    let pattern = format!("{}/experiments/*.toml", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<PathBuf> = glob::glob(&pattern).unwrap().map(Result::unwrap).collect();
    assert!(files.len() >= 8, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.display().to_string();
        let loaded = load_str::<Experiment>(&name, &text, &[]);
        assert!(loaded.is_ok(), "{name}: {}", loaded.unwrap_err());
        assert!(text.starts_with("# Claim: "), "{name} does not begin with its claim");
    }
}
