//! Parameters of which each rank has some rows, and what is kept with them: optimizer state, averages.

use crate::Result;
use crate::checkpoint::Named;
use crate::distributed;
use crate::loss::sharded::{ShardedRows, collect};
use crate::optimizer::groups::Grouped;
use std::collections::BTreeMap;

/// By full name, such as `loss.weight`.
#[derive(Clone, Debug, Default)]
pub struct Divided(pub BTreeMap<String, ShardedRows>);

impl Divided {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The parameter that a tensor belongs to: itself, or one of its optimizer's state
    /// (`loss.weight.momentum_buffer`).
    fn rows(&self, name: &str) -> Option<&ShardedRows> {
        let of_state = || name.rsplit_once('.').and_then(|(parameter, _)| self.0.get(parameter));
        self.0.get(name).or_else(of_state)
    }

    /// The whole tensors on rank 0, in the place of this rank's rows; what is divided is gone on the
    /// others. A collective where something is divided.
    pub fn whole(&self, tensors: Named) -> Result<Named> {
        let Some(group) = distributed::current().filter(|_| !self.is_empty()) else {
            return Ok(tensors);
        };
        let mut all = Named::new();
        for (name, tensor) in tensors {
            let rows = self.rows(&name).filter(|rows| tensor.size().first() == Some(&rows.count));
            match rows {
                Some(rows) => {
                    if let Some(whole) = collect(&group, &tensor, rows)? {
                        all.insert(name, whole);
                    }
                }
                None => drop(all.insert(name, tensor)),
            }
        }
        Ok(all)
    }

    /// How many numbers all ranks together train.
    pub fn whole_values(&self, grouped: &Grouped) -> usize {
        let others = |(name, rows): (&String, &ShardedRows)| {
            let own = grouped.members.get(name)?.parameter.size();
            let width: i64 = own.iter().skip(1).product();
            Some(((rows.whole - rows.count) * width) as usize)
        };
        grouped.values() + self.0.iter().filter_map(others).sum::<usize>()
    }

    /// This rank's rows in the place of whole tensors.
    pub fn own(&self, tensors: Named) -> Named {
        let part = |(name, tensor): (String, tch::Tensor)| {
            let rows = self.rows(&name).filter(|rows| tensor.size().first() == Some(&rows.whole));
            let own = rows.map(|rows| rows.own(&tensor));
            (name, own.unwrap_or(tensor))
        };
        tensors.into_iter().map(part).collect()
    }
}
