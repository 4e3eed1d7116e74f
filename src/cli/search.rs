//! `run search`: the most similar images of a gallery for each query, as JSON and as a picture.

use super::args::SearchArgs;
use super::embed::{Embedded, apart, embed_files, open, writable};
use super::images::images;
use super::progress::Counter;
use super::say;
use crate::data::OnCorrupt;
use crate::evaluate::retrieval::{INDEX_SAMPLE, Index};
use crate::evaluate::{merge_flip, rankings};
use crate::inference::Model;
use crate::plot::hits::{self, Query, Row};
use crate::record::Verbosity;
use crate::retrieval::{
    ApproximateIndex, Hits, IndexRecall, IndexSettings, Matrix, Metric, Progress, top_k,
};
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Queries on a contact sheet.
const SHEET_ROWS: usize = 40;
/// Hits of each of them.
const SHEET_HITS: usize = 24;

pub fn search(args: &SearchArgs, verbosity: Verbosity) -> Result<()> {
    let SearchArgs {
        model,
        gallery,
        query,
        text,
        top_k,
        metric,
        index,
        output,
        contact_sheet,
        skip_broken,
    } = args;
    if output.extension().is_none_or(|extension| extension != "json") {
        return Err(Error::input(format!("--output {} is no .json file", output.display())));
    }
    if *top_k == 0 {
        return Err(Error::input("--top-k is 0: a search for no hits finds none"));
    }
    if text.iter().any(|text| text.trim().is_empty()) {
        return Err(Error::input("--text is empty: there is nothing to search for"));
    }
    let sheet = contact_sheet.clone().unwrap_or_else(|| output.with_extension("png"));
    if sheet.extension().is_none_or(|extension| extension != "png") {
        return Err(Error::input(format!("--contact-sheet {} is no .png file", sheet.display())));
    }
    writable(output)?;
    writable(&sheet)?;
    let queries = match text.as_slice() {
        [] => Queries::Images(images("--query", query)?),
        texts => Queries::Texts(texts.to_vec()),
    };
    let gallery = images("--gallery", gallery)?;
    let mut inputs = gallery.clone();
    if let Queries::Images(queries) = &queries {
        inputs.extend(queries.iter().cloned());
    }
    apart(&[("--output", output), ("--contact-sheet", &sheet)], &inputs)?;
    let model = open(model)?;
    let corrupt = if *skip_broken { OnCorrupt::Skip } else { OnCorrupt::Error };
    let wanted = Wanted { k: *top_k, metric: *metric, index: *index, corrupt };
    let found = ranking(&model, queries, gallery, wanted, verbosity)?;
    write_json(output, &found)?;
    let rows: Vec<Row> = (0..found.queries.len().min(SHEET_ROWS))
        .map(|query| {
            let hit = |(index, score): (u32, f32)| {
                (found.gallery[index as usize].clone(), format!("{score:.3}"))
            };
            Row {
                query: match text.is_empty() {
                    true => Query::Image(found.queries[query].clone()),
                    false => Query::Text(found.queries[query].display().to_string()),
                },
                hits: found.hits.of(query).take(SHEET_HITS).map(hit).collect(),
            }
        })
        .collect();
    hits::write(&rows, &sheet)?;
    let (queries, gallery) = (found.queries.len(), found.gallery.len());
    let mut shown = String::new();
    if queries > SHEET_ROWS {
        shown.push_str(&format!(" of the first {SHEET_ROWS} queries"));
    }
    if found.hits.k > SHEET_HITS {
        shown.push_str(&format!(", {SHEET_HITS} hits each"));
    }
    let approximate = found.recall.map_or(String::new(), |recall| {
        let IndexRecall { queries, k, overlap } = recall;
        format!(
            "the index finds {:.2} % of the true {k} best (of {})\n",
            100.0 * overlap,
            counted(queries)
        )
    });
    say(&format!(
        "{}: the {} best of {gallery} images for {}\n{approximate}{}: the contact sheet{shown}\n",
        output.display(),
        found.hits.k,
        match queries {
            1 => counted(1),
            _ => format!("each of {}", counted(queries)),
        },
        sheet.display()
    ))
}

fn counted(queries: usize) -> String {
    format!("{queries} {}", if queries == 1 { "query" } else { "queries" })
}

/// What is searched for.
pub enum Queries {
    Images(Vec<PathBuf>),
    /// By a model with a text tower.
    Texts(Vec<String>),
}

/// The hits of every query, by file.
pub struct Found {
    /// Files, or texts as they are.
    pub queries: Vec<PathBuf>,
    pub gallery: Vec<PathBuf>,
    pub hits: Hits,
    /// Of an approximate index.
    pub recall: Option<IndexRecall>,
}

/// What is searched for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub k: usize,
    pub metric: Metric,
    pub index: Index,
    pub corrupt: OnCorrupt,
}

/// Embeds both sides, each file once, and searches. A query that is in the gallery is not its
/// own hit.
///
/// # Errors
/// A broken image, a stop.
pub fn ranking(
    model: &Model,
    queries: Queries,
    gallery: Vec<PathBuf>,
    wanted: Wanted,
    verbosity: Verbosity,
) -> Result<Found> {
    let Wanted { k, metric, index, corrupt } = wanted;
    let (queries, texts) = match queries {
        Queries::Images(queries) => (queries, Vec::new()),
        Queries::Texts(texts) => (Vec::new(), texts),
    };
    let of_texts = if texts.is_empty() { Vec::new() } else { model.embed_texts(&texts)? };
    let mut files = queries.clone();
    let of_query: HashMap<PathBuf, usize> =
        queries.iter().enumerate().map(|(at, path)| (path.clone(), at)).collect();
    files.extend(gallery.iter().filter(|path| !of_query.contains_key(*path)).cloned());
    let flip = model.plan.experiment.evaluate.flip;
    let Embedded { kept, vectors, dim } = embed_files(model, &files, flip, corrupt, verbosity)?;
    let row: HashMap<&PathBuf, usize> = kept.iter().enumerate().map(|(at, p)| (p, at)).collect();
    let side = |paths: Vec<PathBuf>| -> (Vec<PathBuf>, Vec<f32>) {
        let kept: Vec<PathBuf> = paths.into_iter().filter(|path| row.contains_key(path)).collect();
        let values = kept.iter().flat_map(|path| &vectors[row[path] * dim..][..dim]).copied();
        let values = values.collect();
        (kept, values)
    };
    let (queries, query_rows) = match texts.is_empty() {
        true => side(queries),
        false => {
            let rows = merge_flip(&of_texts, &of_texts, model.dim(), flip);
            (texts.into_iter().map(PathBuf::from).collect(), rows)
        }
    };
    let (gallery, gallery_rows) = side(gallery);
    if queries.is_empty() || gallery.is_empty() {
        return Err(Error::failed("no query or no gallery image can be read"));
    }
    let place: HashMap<&PathBuf, u32> =
        gallery.iter().enumerate().map(|(at, path)| (path, at as u32)).collect();
    let own: Vec<Option<u32>> = queries.iter().map(|path| place.get(path).copied()).collect();
    let counter = Counter::new("searching", verbosity == Verbosity::Quiet);
    let stop = StopFlag::listen()?;
    let progress = |done, total| {
        counter.set(done, total);
        !stop.is_set()
    };
    let (from, among) = (Matrix::new(&query_rows, dim)?, Matrix::new(&gallery_rows, dim)?);
    let result = match index {
        Index::Exact => top_k(from, among, k, metric, Some(&own), &progress).map(|h| (h, None)),
        Index::Hnsw => by_index(from, among, k, metric, &own, &progress),
    };
    counter.finish();
    let (hits, recall) = result?;
    Ok(Found { hits, recall, queries, gallery })
}

/// By an approximate index, and how much of the exact search it finds.
fn by_index(
    queries: Matrix<'_>,
    gallery: Matrix<'_>,
    k: usize,
    metric: Metric,
    own: &[Option<u32>],
    progress: Progress<'_>,
) -> Result<(Hits, Option<IndexRecall>)> {
    let settings = IndexSettings::default();
    let index = ApproximateIndex::build(gallery, metric, &settings, progress)?;
    let hits = index.search(queries, k, Some(own), progress)?;
    let recall = index.recall_against_exact(queries, INDEX_SAMPLE, k, Some(own), progress)?;
    Ok((hits, Some(recall)))
}

/// `{query file: [gallery files, best first]}`
fn write_json(path: &Path, found: &Found) -> Result<()> {
    let name = |path: &PathBuf| path.display().to_string();
    let mut object = serde_json::Map::new();
    for (query, file) in found.queries.iter().enumerate() {
        let hits =
            found.hits.of(query).map(|(index, _)| name(&found.gallery[index as usize]).into());
        object.insert(name(file), serde_json::Value::Array(hits.collect()));
    }
    rankings::write_object(path, &object)
}
