//! Ranks of the relevant gallery embeddings of one query, without sorting the gallery.
//!
//! The similarities of the relevant ones are known exactly from the start; what else a block holds
//! is counted into the gaps between them.

use super::blocks::Row;
use super::space::Space;
use super::topk::Candidate;

/// Of one query: its relevant gallery rows, best first, and what else comes before them.
pub struct Ranked {
    /// Ascending.
    indices: Vec<u32>,
    /// Best first.
    relevant: Vec<Candidate>,
    /// Others between the relevant one before and this one.
    before: Vec<u32>,
}

impl Ranked {
    /// `relevant`: ascending gallery rows, without the query's own.
    pub fn new(space: &Space<'_>, query: usize, relevant: Vec<u32>) -> Self {
        let candidate = |index: &u32| Candidate {
            similarity: space.exact(query, *index as usize),
            index: *index,
        };
        let mut best_first: Vec<Candidate> = relevant.iter().map(candidate).collect();
        best_first.sort_unstable();
        let before = vec![0; best_first.len()];
        Ranked { indices: relevant, relevant: best_first, before }
    }

    pub fn take(&mut self, space: &Space<'_>, row: &Row<'_>, own: Option<u32>) {
        let Some(last) = self.relevant.last() else { return };
        let bar = row.bounds.least(last.similarity);
        // Products between the two, of each relevant one, leave the order open.
        let limits: Vec<(f32, f32)> = (self.relevant.iter())
            .map(|relevant| {
                (row.bounds.least(relevant.similarity), row.bounds.most(relevant.similarity))
            })
            .collect();
        let mut next = self.indices.partition_point(|index| (*index as usize) < row.first);
        for (place, product) in row.products.iter().enumerate() {
            let index = (row.first + place) as u32;
            if self.indices.get(next) == Some(&index) {
                next += 1;
                continue;
            }
            if *product < bar || Some(index) == own {
                continue;
            }
            let surely = limits.partition_point(|(least, _)| *product < *least);
            let perhaps = limits.partition_point(|(_, most)| *product <= *most);
            let gap = if surely == perhaps {
                surely
            } else {
                let similarity = space.exact(row.query, index as usize);
                let other = Candidate { similarity, index };
                self.relevant.partition_point(|relevant| *relevant < other)
            };
            if let Some(before) = self.before.get_mut(gap) {
                *before += 1;
            }
        }
    }

    /// Ranks from 0, ascending.
    pub fn ranks(self) -> Vec<u32> {
        let mut others = 0;
        let ranks = self.before.iter().zip(0..).map(|(before, better)| {
            others += before;
            others + better
        });
        ranks.collect()
    }
}
