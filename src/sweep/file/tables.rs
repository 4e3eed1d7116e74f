//! The tables of a sweep file.

use super::super::condition::Condition;
use super::super::pruning::PruningConfig;
use super::super::settings::{Objective, Retry, Running};
use super::super::slurm::Launcher;
use super::{Axis, Block, axes, search};
use crate::config::{Context, Field, Reader, Shape, Value, join};
use serde::{Serialize, Serializer};
use std::path::PathBuf;

/// A table or list that is read elsewhere, for its keys are those of the experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Free;

impl Serialize for Free {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A TOML document can't hold a unit.
        false.serialize(serializer)
    }
}

impl Field for Free {
    fn shape() -> Shape {
        Shape::Leaf("table")
    }

    fn read(_: Option<&Value>, _: Option<Self>, _: &Reader<'_>) -> Option<Self> {
        Some(Free)
    }
}

/// Keys that a slip of the pen may have meant, whichever table it is in.
pub const KEYS: &[&str] = &[
    "random.space",
    "random.count",
    "random.seed",
    "objective.metric",
    "objective.goal",
    "run.jobs",
    "run.threads",
    "pruning.kind",
];

crate::config_struct! {
    /// A sweep.
    pub struct Head {
        /// Name of the sweep and of its folder of results; empty: the file's name.
        pub name: String = String::new();
        /// The experiment that is varied.
        pub base: PathBuf = PathBuf::new(), required();
        /// What trials are compared by.
        pub objective: Objective = Objective::default();
        /// How trials are run.
        pub run: Running = Running::default();
        /// How often a trial that ended badly is tried again.
        pub retry: Retry = Retry::default();
        /// Which trials stop early.
        pub pruning: PruningConfig = PruningConfig::default();
        /// Where trials run besides this machine.
        pub launcher: Launcher = Launcher::default();
        /// What every trial sets.
        pub set: Free = Free;
        /// Seeds of each combination.
        pub seeds: Free = Free;
        /// Conditions for leaving a trial out.
        pub skip_if: Vec<String> = Vec::new();
        /// Axes of which every combination is tried.
        pub grid: Free = Free;
        /// Axes that go in step.
        pub zip: Free = Free;
        /// Random samples.
        pub random: Free = Free;
        /// Quasi-random samples.
        pub sobol: Free = Free;
        /// Samples proposed by what the others came to.
        pub tpe: Free = Free;
        /// Further combinations.
        pub block: Free = Free;
    }
}

crate::config_struct! {
    /// Combinations besides those of the other blocks.
    pub struct BlockTable {
        /// What every trial of the block sets.
        pub set: Free = Free;
        /// Seeds of each combination.
        pub seeds: Free = Free;
        /// Conditions for leaving a trial out.
        pub skip_if: Vec<String> = Vec::new();
        /// Axes of which every combination is tried.
        pub grid: Free = Free;
        /// Axes that go in step.
        pub zip: Free = Free;
        /// Random samples.
        pub random: Free = Free;
        /// Quasi-random samples.
        pub sobol: Free = Free;
        /// Samples proposed by what the others came to.
        pub tpe: Free = Free;
    }
}

/// The value of a key of a table.
pub fn entry<'v>(table: &'v Value, name: &str) -> Option<&'v Value> {
    table.as_dict().and_then(|dict| dict.get(name))
}

/// The top level, where it has axes of its own, and each `[[block]]`.
pub fn blocks(context: &Context<'_>, root: &Value) -> Option<Vec<Block>> {
    let stated = entry(root, "block");
    let own = ["grid", "zip", "random", "sobol", "tpe"];
    let own = own.into_iter().any(|name| entry(root, name).is_some()) || stated.is_none();
    let seeds = seeds(context, root, "seeds");
    let skip_if = conditions(context, root, "skip_if");
    let mut blocks = Vec::new();
    if own {
        blocks.push(block(context, root, "").map(|block| Block { set: Vec::new(), ..block }));
    }
    match stated {
        None => {}
        Some(Value::Array(_, tables)) => {
            if tables.is_empty() {
                Reader::at(context, "block").report("`block` is empty", None);
            }
            for (index, table) in tables.iter().enumerate() {
                let path = format!("block[{index}]");
                let known = BlockTable::read(Some(table), None, &Reader::at(context, &path));
                blocks.push(known.and_then(|_| block(context, table, &path)));
            }
        }
        Some(_) => {
            let help = Some("write [[block]], with two brackets".to_string());
            Reader::at(context, "block").report("`block` is a list of tables", help);
        }
    }
    let (seeds, skip_if) = (seeds?, skip_if?);
    let blocks = blocks.into_iter().collect::<Option<Vec<Block>>>()?;
    let besides = |block: Block| Block {
        seeds: block.seeds.or_else(|| seeds.clone()),
        skip_if: skip_if.iter().cloned().chain(block.skip_if).collect(),
        ..block
    };
    Some(blocks.into_iter().map(besides).collect())
}

fn block(context: &Context<'_>, table: &Value, path: &str) -> Option<Block> {
    let top = path.is_empty();
    // Those of the top level are read once, for all blocks.
    let set =
        if top { Some(Vec::new()) } else { axes::statements(context, table, &join(path, "set")) };
    let seeds = if top { Some(None) } else { seeds(context, table, &join(path, "seeds")) };
    let skip_if =
        if top { Some(Vec::new()) } else { conditions(context, table, &join(path, "skip_if")) };
    let grid = axes::grid(context, table, &join(path, "grid"));
    let zips = axes::zips(context, table, &join(path, "zip"));
    let search = search::read(context, table, path);
    Some(Block {
        set: set?,
        grid: grid?,
        zips: zips?,
        search: search?,
        seeds: seeds?,
        skip_if: skip_if?,
    })
}

/// `seeds = [0, 1]` or `seeds = 2`.
fn seeds(context: &Context<'_>, table: &Value, path: &str) -> Option<Option<Axis>> {
    let Some(stated) = entry(table, "seeds") else { return Some(None) };
    let at = Reader::at(context, path);
    let place = axes::key_place(context, path);
    let (values, places) = if let Value::Array(..) = stated {
        let values = Vec::<u64>::read(Some(stated), None, &at)?;
        if values.is_empty() {
            at.report(format!("`{path}` is empty"), Some("name a seed, or leave it out".into()));
            return None;
        }
        let places = (0..values.len()).map(|i| axes::value_place(context, &format!("{path}[{i}]")));
        let places = places.collect();
        (values, places)
    } else {
        let count = usize::read(Some(stated), None, &at)?;
        if count == 0 || count > axes::LARGEST {
            at.report(
                format!("`{path}` is {count}, must be between 1 and {}", axes::LARGEST),
                None,
            );
            return None;
        }
        ((0..count as u64).collect(), vec![axes::value_place(context, path); count])
    };
    let values = values.into_iter().map(serde_json::Value::from).collect();
    Some(Some(Axis { key: "seed".into(), values, places, when: None, place }))
}

fn conditions(context: &Context<'_>, table: &Value, path: &str) -> Option<Vec<Condition>> {
    // A list of another type is reported where the table is read as a whole.
    let Some(Value::Array(_, stated)) = entry(table, "skip_if") else { return Some(Vec::new()) };
    let condition = |(index, value): (usize, &Value)| {
        axes::condition(context, value.as_str()?, &format!("{path}[{index}]"))
    };
    let read: Vec<Option<Condition>> = stated.iter().enumerate().map(condition).collect();
    read.into_iter().collect()
}
