//! A weighted sum of losses on one embedding: hybrid training, such as a margin softmax beside a
//! triplet loss, or beside CLIP's.

use super::sharded::ShardedRows;
use super::{Loss, LossConfig, LossInput, LossOutput, LossPart, Needs};
use crate::{Error, Result};
use std::collections::BTreeMap;
use tch::{Tensor, nn};

crate::config_struct! {
    /// One loss of a sum.
    pub struct Part {
        /// Its factor in the sum.
        pub weight: f64 = 1.0, non_negative();
        /// The loss.
        pub loss: LossConfig = LossConfig::Sum(Sum::default());
    }
}

crate::config_struct! {
    /// Weighted sum of losses on the same embedding: `[loss.parts.NAME]` with `weight` and `loss`.
    pub struct Sum {
        /// The losses by names of your choice, which name their columns and parameters.
        pub parts: BTreeMap<String, Part> = BTreeMap::new();
    }
}

#[derive(Debug)]
struct Built {
    parts: Vec<Term>,
}

#[derive(Debug)]
struct Term {
    name: String,
    weight: f64,
    /// It has classes: its accuracy is the sum's.
    classes: bool,
    loss: Box<dyn Loss>,
}

impl LossPart for Sum {
    fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let Sum { parts } = self;
        let term = |(name, part): (&String, &Part)| Term {
            name: name.clone(),
            weight: part.weight,
            classes: part.loss.needs() == Needs::default(),
            loss: part.loss.build(&(path / name), dim, classes),
        };
        Box::new(Built { parts: parts.iter().map(term).collect() })
    }

    fn reads_norms(&self) -> bool {
        self.parts.values().any(|part| part.loss.reads_norms())
    }

    fn needs(&self) -> Needs {
        let all = self.parts.values().map(|part| part.loss.needs());
        all.fold(Needs::default(), |sum, needs| Needs {
            pairs: sum.pairs || needs.pairs,
            text: sum.text || needs.text,
        })
    }

    fn shards(&self) -> bool {
        self.parts.values().any(|part| part.loss.part().shards())
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        if self.parts.values().all(|part| part.weight == 0.0) {
            let message = "needs a loss of weight above 0: [loss.parts.NAME] with `weight` and \
                           `loss.kind`";
            wrong.push(("parts".to_string(), message.to_string()));
        }
        for (name, part) in &self.parts {
            let odd = |c: char| c.is_control() || ['.', ',', '/', '"'].contains(&c);
            if name.trim().is_empty() || name.contains(odd) {
                let message = format!(
                    "has a part named {name:?}, which is no name for a column: give it letters and \
                     digits, no dots, commas, slashes, quotes or line breaks"
                );
                wrong.push(("parts".to_string(), message));
                continue;
            }
            // What a part is that states no loss.
            if part.loss == LossConfig::Sum(Sum::default()) {
                let message = "needs a `kind`: which loss this part is".to_string();
                wrong.push((format!("parts.{name}.loss"), message));
                continue;
            }
            for (key, message) in part.loss.validate() {
                wrong.push((format!("parts.{name}.loss.{key}"), message));
            }
        }
        wrong
    }
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let mut sum: Option<LossOutput> = None;
        let mut correct_of_classes = false;
        let mut values = Vec::new();
        let mut monitored = 0.0 * input.embedding.detach().sum(input.embedding.kind());
        for Term { name: _, weight, classes, loss } in &mut self.parts {
            let output = loss.forward(input)?;
            let plain = output.loss.detach();
            monitored += output.monitored.as_ref().unwrap_or(&plain) * *weight;
            values.push(plain);
            values.extend(output.values);
            let weighted = output.loss * *weight;
            sum = Some(match sum {
                None => {
                    correct_of_classes = *classes;
                    LossOutput { loss: weighted, values: Vec::new(), ..output }
                }
                Some(mut sum) => {
                    if *classes && !correct_of_classes {
                        correct_of_classes = true;
                        sum.correct = output.correct;
                    }
                    LossOutput { loss: sum.loss + weighted, ..sum }
                }
            });
        }
        let sum = sum.ok_or_else(|| Error::input("the loss `sum` has no parts"))?;
        Ok(LossOutput { monitored: Some(monitored), values, ..sum })
    }

    fn columns(&self) -> Vec<String> {
        let of = |term: &Term| {
            let own =
                term.loss.columns().into_iter().map(|column| format!("{}.{column}", term.name));
            [vec![format!("{}.loss", term.name)], own.collect()].concat()
        };
        self.parts.iter().flat_map(of).collect()
    }

    fn state(&self) -> serde_json::Value {
        let states = self.parts.iter().map(|term| (term.name.clone(), term.loss.state()));
        serde_json::Value::Object(states.collect())
    }

    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        for Term { name, weight: _, classes: _, loss } in &mut self.parts {
            let Some(own) = state.get(name.as_str()) else {
                let message = format!("the checkpoint's loss state has no part `{name}`");
                return Err(
                    Error::input(message).help("continue with the loss that wrote the checkpoint")
                );
            };
            loss.load_state(own)?;
        }
        Ok(())
    }

    fn without_decay(&self) -> Vec<String> {
        let of = |term: &Term| {
            let own = term.loss.without_decay().into_iter();
            own.map(|name| format!("{}.{name}", term.name)).collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(of).collect()
    }

    fn after_step(&mut self) {
        self.parts.iter_mut().for_each(|term| term.loss.after_step());
    }

    fn sharded(&self) -> Vec<ShardedRows> {
        let of = |term: &Term| {
            let own = term.loss.sharded().into_iter();
            let named = |rows: ShardedRows| {
                let name = format!("{}.{}", term.name, rows.name);
                ShardedRows { name, ..rows }
            };
            own.map(named).collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(of).collect()
    }

    /// Those of the first part that has some.
    fn centres(&self) -> Option<Tensor> {
        self.parts.iter().find_map(|term| term.loss.centres())
    }
}
