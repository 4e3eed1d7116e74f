//! Retrieval sets: which images of a gallery are nearest to each query.
//!
//! Every evaluation writes the rankings to `retrieval/SET/`: of each query the best gallery files.

use super::search_images::{self, SearchImages};
use super::set::{Detail, Outcome};
use super::verification::Metric as Number;
use crate::config::DatasetPath;
use crate::data::{Dataset, Image, Splits};
use crate::retrieval::{
    ApproximateIndex, Hits, IndexSettings, Matrix, Metric, Progress, Relevance, RetrievalOptions,
    evaluate, top_k,
};
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// Queries that are also searched exactly where an approximate index is asked for.
pub const INDEX_SAMPLE: usize = 1000;

crate::config_choice! {
    /// A part of the data to search in.
    pub enum SearchSplit {
        /// Identities set aside by the data's split.
        Unseen = "unseen",
        /// Images set aside for the closed-set test.
        Test = "test",
        /// The validation images.
        Validation = "validation",
    }
}

crate::config_choice! {
    /// How a gallery is searched.
    pub enum Index {
        /// Against every image of the gallery.
        Exact = "exact",
        /// By an approximate index (HNSW, Malkov and Yashunin 2018, arXiv:1603.09320), for galleries of
        /// millions; its recall against the exact search is measured on a sample of the queries.
        Hnsw = "hnsw",
    }
}

crate::config_struct! {
    /// Queries that are searched in a gallery: Recall@k, mAP, mAP@R, precision@1, CMC (Musgrave et al.
    /// 2020, arXiv:2003.08505), and the rankings as JSON. A query's own file is never its match.
    pub struct Retrieval {
        /// Queries: a folder with one folder per identity, a folder of images, or a CSV file with the
        /// columns path,identity. Empty: the `split`.
        pub query: DatasetPath = DatasetPath::default();
        /// The gallery, in the same forms. Empty: the queries themselves.
        pub gallery: DatasetPath = DatasetPath::default();
        /// Without `query`: the part of the data whose images are queries and gallery.
        pub split: SearchSplit = SearchSplit::Unseen;
        /// What makes two embeddings similar.
        pub metric: Metric = Metric::Cosine;
        /// Hits of each query that are written down.
        pub top_k: usize = 10, positive();
        /// How the gallery is searched; "hnsw" scores Recall@k up to `top_k` alone.
        pub index: Index = Index::Exact;
    }
}

/// A retrieval set, prepared.
#[derive(Clone, Debug)]
pub struct RetrievalSet {
    /// Each image once.
    pub images: Vec<Image>,
    /// Indices into `images`.
    pub queries: Vec<usize>,
    pub gallery: Vec<usize>,
    /// The identity of each image; None where they are not known, so that nothing is scored.
    pub identities: Option<Vec<u32>>,
    pub metric: Metric,
    pub top_k: usize,
    pub index: Index,
    pub notes: Vec<String>,
}

impl Retrieval {
    /// Whether it is a part of the data's split.
    pub fn needs_data(&self) -> bool {
        self.query.raw.as_os_str().is_empty()
    }

    /// The set. `datasets` is `paths.datasets`.
    ///
    /// # Errors
    /// A gallery without queries, a split that the data has not, and those of
    /// [`search_images::read`].
    pub fn build(&self, datasets: &Path, splits: Option<&Splits>) -> Result<RetrievalSet> {
        let Retrieval { query, gallery, split, metric, top_k, index } = self;
        let stated = |path: &DatasetPath| !path.raw.as_os_str().is_empty();
        let (queries, gallery) = match (stated(query), stated(gallery)) {
            (false, true) => {
                return Err(Error::input("`gallery` is stated without `query`")
                    .help("name the queries too: query = \"queries\""));
            }
            (false, false) => (of_split(*split, splits)?, None),
            (true, false) => (search_images::read(&query.resolve(datasets))?, None),
            (true, true) => (
                search_images::read(&query.resolve(datasets))?,
                Some(search_images::read(&gallery.resolve(datasets))?),
            ),
        };
        let mut set = RetrievalSet::new(queries, gallery);
        (set.metric, set.top_k, set.index) = (*metric, *top_k, *index);
        set.note_unmatched();
        Ok(set)
    }
}

fn of_split(split: SearchSplit, splits: Option<&Splits>) -> Result<SearchImages> {
    let part = splits.and_then(|splits| match split {
        SearchSplit::Unseen => splits.unseen.as_ref(),
        SearchSplit::Test => splits.test.as_ref(),
        SearchSplit::Validation => splits.validation.as_ref(),
    });
    let Some(Dataset { items, labels, .. }) = part.filter(|part| !part.is_empty()) else {
        return Err(Error::input(format!("the data's split has no {split} images"))
            .help("split the data so that there are some, or name `query`"));
    };
    let identities = items.iter().map(|item| labels.names()[item.label as usize].clone()).collect();
    Ok(SearchImages {
        images: items.iter().map(|item| item.image.clone()).collect(),
        identities: Some(identities),
        notes: Vec::new(),
    })
}

impl RetrievalSet {
    /// Queries in a gallery, or among themselves.
    pub fn new(queries: SearchImages, gallery: Option<SearchImages>) -> RetrievalSet {
        let mut notes = queries.notes.clone();
        notes.extend(gallery.iter().flat_map(|gallery| gallery.notes.clone()));
        let known = queries.identities.is_some()
            && gallery.as_ref().is_none_or(|gallery| gallery.identities.is_some());
        let (mut images, mut identities) = (Vec::new(), Vec::new());
        let mut index: HashMap<Image, usize> = HashMap::new();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut add = |side: &SearchImages| -> Vec<usize> {
            let names = side.identities.iter().flatten().map(Some).chain(std::iter::repeat(None));
            let images_of_side = side.images.iter().zip(names).map(|(path, name)| {
                let image = Image::from(path);
                *index.entry(image.clone()).or_insert_with(|| {
                    images.push(image);
                    let next = numbers.len() as u32;
                    identities.push(name.map_or(0, |n| *numbers.entry(n.clone()).or_insert(next)));
                    images.len() - 1
                })
            });
            images_of_side.collect()
        };
        let queries_at = add(&queries);
        let gallery_at = match &gallery {
            Some(gallery) => add(gallery),
            None => queries_at.clone(),
        };
        RetrievalSet {
            images,
            queries: queries_at,
            gallery: gallery_at,
            identities: known.then_some(identities),
            metric: Metric::Cosine,
            top_k: 10,
            index: Index::Exact,
            notes,
        }
    }

    /// Queries that no metric counts are told.
    fn note_unmatched(&mut self) {
        let Some(identities) = &self.identities else { return };
        let matched = self.matched(identities);
        let without = matched.iter().filter(|matched| !**matched).count();
        if without > 0 && without < matched.len() {
            self.notes.push(format!(
                "{without} of {} queries have no image of their identity in the gallery and are not \
                 scored",
                matched.len()
            ));
        }
    }

    /// # Errors
    /// No query that has a match in the gallery.
    pub fn check(&self) -> Result<()> {
        let Some(identities) = &self.identities else { return Ok(()) };
        match self.matched(identities).contains(&true) {
            true => Ok(()),
            false => Err(Error::input(format!(
                "none of the {} queries has an image of its identity in the gallery of {}",
                self.queries.len(),
                self.gallery.len()
            ))),
        }
    }

    /// Of each query, whether the gallery has an image of its identity besides itself.
    fn matched(&self, identities: &[u32]) -> Vec<bool> {
        let mut of_identity: HashMap<u32, usize> = HashMap::new();
        self.gallery.iter().for_each(|i| *of_identity.entry(identities[*i]).or_insert(0) += 1);
        let own: std::collections::HashSet<&usize> = self.gallery.iter().collect();
        let has_match = |query: &usize| {
            let images = of_identity.get(&identities[*query]).copied().unwrap_or(0);
            images > usize::from(own.contains(query))
        };
        self.queries.iter().map(has_match).collect()
    }

    /// `120 queries in a gallery of 900`
    pub fn size(&self) -> String {
        format!("{} queries in a gallery of {}", self.queries.len(), self.gallery.len())
    }

    /// Ranks and scores.
    ///
    /// # Shapes
    /// `vectors`: a row of `dim` values per image.
    ///
    /// # Errors
    /// An embedding that has no direction, or is not finite, naming its image; `Stopped` where
    /// `progress` says so.
    pub fn score(&self, vectors: &[f32], dim: usize, progress: Progress<'_>) -> Result<Outcome> {
        for (row, image) in vectors.chunks(dim).zip(&self.images) {
            let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            if !norm.is_finite() {
                let message = format!("the embedding of {} is not finite", image.display());
                return Err(Error::diverged(format!("the network diverged: {message}")));
            }
            if norm == 0.0 && self.metric == Metric::Cosine {
                let message = format!("the embedding of {} is all zeros", image.display());
                return Err(Error::failed(format!("the network collapsed: {message}")));
            }
        }
        let rows = |side: &[usize]| -> Vec<f32> {
            side.iter().flat_map(|i| &vectors[i * dim..][..dim]).copied().collect()
        };
        let (query_rows, gallery_rows) = (rows(&self.queries), rows(&self.gallery));
        let (queries, gallery) = (Matrix::new(&query_rows, dim)?, Matrix::new(&gallery_rows, dim)?);
        let place: HashMap<usize, u32> =
            self.gallery.iter().enumerate().map(|(at, image)| (*image, at as u32)).collect();
        let own: Vec<Option<u32>> = self.queries.iter().map(|i| place.get(i).copied()).collect();
        if self.index == Index::Hnsw {
            return self.approximate(queries, gallery, &own, progress);
        }
        match &self.identities {
            None => {
                let hits = top_k(queries, gallery, self.top_k, self.metric, Some(&own), progress)?;
                Ok(Outcome { metrics: Vec::new(), detail: Detail::Ranking(hits) })
            }
            Some(identities) => {
                let of = |side: &[usize]| side.iter().map(|i| identities[*i]).collect::<Vec<u32>>();
                let (of_queries, of_gallery) = (of(&self.queries), of(&self.gallery));
                let relevance =
                    Relevance::Identities { queries: &of_queries, gallery: &of_gallery };
                let options = RetrievalOptions {
                    metric: self.metric,
                    top_k: self.top_k,
                    ..RetrievalOptions::default()
                };
                let (result, hits) =
                    evaluate(queries, gallery, relevance, Some(&own), &options, progress)?;
                Ok(Outcome { metrics: result.metrics(), detail: Detail::Ranking(hits) })
            }
        }
    }

    /// Ranks by an approximate index. What needs whole rankings is not scored.
    fn approximate(
        &self,
        queries: Matrix<'_>,
        gallery: Matrix<'_>,
        own: &[Option<u32>],
        progress: Progress<'_>,
    ) -> Result<Outcome> {
        let settings = IndexSettings::default();
        let index = ApproximateIndex::build(gallery, self.metric, &settings, progress)?;
        let hits = index.search(queries, self.top_k, Some(own), progress)?;
        let recall =
            index.recall_against_exact(queries, INDEX_SAMPLE, self.top_k, Some(own), progress)?;
        let mut metrics = self.recalls(&hits);
        metrics.push(Number::new(format!("index_recall@{}", recall.k), recall.overlap, None));
        Ok(Outcome { metrics, detail: Detail::Ranking(hits) })
    }

    /// Recall@1, 5, 10 as far as there are hits, over the queries that have a match in the gallery.
    fn recalls(&self, hits: &Hits) -> Vec<Number> {
        let Some(identities) = &self.identities else { return Vec::new() };
        let matched = self.matched(identities);
        // The rank, from 0, of the first match of each query that has one.
        let first: Vec<Option<usize>> = (self.queries.iter().enumerate())
            .filter(|(query, _)| matched[*query])
            .map(|(query, image)| {
                let same = |hit: u32| identities[self.gallery[hit as usize]] == identities[*image];
                hits.of(query).position(|(hit, _)| same(hit))
            })
            .collect();
        let recall = |k: usize| {
            let found = first.iter().filter(|rank| rank.is_some_and(|rank| rank < k)).count();
            Number::new(format!("recall@{k}"), found as f64 / first.len() as f64, None)
        };
        [1, 5, 10].into_iter().filter(|k| *k <= self.top_k).map(recall).collect()
    }
}
