//! Search and its metrics against faiss, pytorch-metric-learning and scikit-learn
//! (tools/parity/retrieval.py), and against sorting every row in cases drawn at random.

use arcrun::random::{Stream, derive};
use arcrun::retrieval::{
    Blocks, Hits, Matrix, Metric, Relevance, RetrievalOptions, both_directions, evaluate, top_k,
    top_k_in_blocks,
};
use serde::Deserialize;
use std::collections::BTreeMap;

mod common;

fn silent(_: usize, _: usize) -> bool {
    true
}

/// SplitMix64's output function.
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The twin of `rows` in tools/parity/retrieval.py.
fn rows(kind: &str, seed: u64, count: usize, dim: usize) -> Vec<f32> {
    let value = |i: u64, j: u64| match kind {
        "near" => {
            let whole = mix((seed << 40) | ((i / 2) << 16) | j) >> 60;
            let moved = (i % 2) as f64 * f64::from(j == i % dim as u64);
            8.0 + whole as f64 / 16.0 + moved / (1 << 20) as f64
        }
        "coarse" if j == 0 => 1.0,
        "coarse" => (mix((seed << 40) | (i << 16) | j) % 3) as f64 - 1.0,
        _ => (mix((seed << 40) | (i << 16) | j) >> 40) as f64 / (1 << 23) as f64 - 1.0,
    };
    let places = (0..count as u64).flat_map(|i| (0..dim as u64).map(move |j| (i, j)));
    places.map(|(i, j)| value(i, j) as f32).collect()
}

#[derive(Deserialize)]
struct Neighbours {
    indices: Vec<u32>,
    scores: Vec<f32>,
}

#[derive(Deserialize)]
struct Search {
    name: String,
    kind: String,
    queries: usize,
    gallery: usize,
    dim: usize,
    k: usize,
    seeds: [u64; 2],
    l2: Neighbours,
    ip: Neighbours,
}

/// Sizes of blocks that must not matter.
const BLOCKS: [Blocks; 3] = [
    Blocks { queries: 256, gallery: 2048, wave: 16_384 },
    Blocks { queries: 3, gallery: 17, wave: 10 },
    Blocks { queries: 1, gallery: 1, wave: 1 },
];

#[test]
fn squared_distances_and_their_order_are_those_of_faiss() {
    for case in common::read_json::<Vec<Search>>("retrieval/top_k.json") {
        let queries = rows(&case.kind, case.seeds[0], case.queries, case.dim);
        let gallery = rows(&case.kind, case.seeds[1], case.gallery, case.dim);
        for blocks in BLOCKS {
            let hits =
                search(&queries, &gallery, case.dim, case.k, Metric::Euclidean, None, blocks);
            assert_eq!(hits.k, case.k.min(case.gallery), "{}", case.name);
            assert_eq!(hits.indices, case.l2.indices, "{}, {blocks:?}", case.name);
            for (ours, faiss) in hits.scores.iter().zip(&case.l2.scores) {
                // faiss sums d squares in float32, with d roundings.
                let close = case.dim as f32 * f32::EPSILON * faiss;
                assert!((ours - faiss).abs() <= close, "{}: {ours} is not {faiss}", case.name);
            }
        }
    }
}

#[test]
fn cosines_are_those_of_faiss_and_their_order_where_they_differ() {
    for case in common::read_json::<Vec<Search>>("retrieval/top_k.json") {
        let queries = rows(&case.kind, case.seeds[0], case.queries, case.dim);
        let gallery = rows(&case.kind, case.seeds[1], case.gallery, case.dim);
        for blocks in BLOCKS {
            let hits = search(&queries, &gallery, case.dim, case.k, Metric::Cosine, None, blocks);
            for (ours, faiss) in hits.scores.iter().zip(&case.ip.scores) {
                assert!((ours - faiss).abs() <= 1e-6, "{}: {ours} is not {faiss}", case.name);
            }
            for query in 0..case.queries {
                let ours: Vec<(u32, f32)> = hits.of(query).collect();
                let row = query * hits.k..(query + 1) * hits.k;
                let (indices, scores) = (&case.ip.indices[row.clone()], &case.ip.scores[row]);
                let faiss: Vec<_> = indices.iter().copied().zip(scores.iter().copied()).collect();
                assert_same_order(&ours, &faiss, &format!("{}, query {query}", case.name));
            }
        }
    }
}

/// Within a run of scores that differ by no more than 1e-6 the order is rounding, and of the last
/// run any part may be there: runs must hold the same indices, the last one as many.
fn assert_same_order(ours: &[(u32, f32)], faiss: &[(u32, f32)], what: &str) {
    let mut start = 0;
    for end in 1..=faiss.len() {
        if end < faiss.len() && faiss[end - 1].1 - faiss[end].1 <= 1e-6 {
            continue;
        }
        let indices = |hits: &[(u32, f32)]| {
            let mut indices: Vec<u32> = hits[start..end].iter().map(|(index, _)| *index).collect();
            indices.sort_unstable();
            indices
        };
        if end < faiss.len() {
            assert_eq!(indices(ours), indices(faiss), "{what}: {start}..{end}");
        }
        start = end;
    }
    assert_eq!(ours.len(), faiss.len(), "{what}");
}

#[derive(Deserialize)]
struct Accuracy {
    name: String,
    queries: usize,
    gallery: usize,
    dim: usize,
    classes: u64,
    seed: u64,
    pytorch_metric_learning: BTreeMap<String, f64>,
    left_out: usize,
    recall: BTreeMap<usize, f64>,
    map_sklearn: f64,
}

fn people(case: &Accuracy, seed: u64, count: usize) -> (Vec<f32>, Vec<u32>) {
    let centres = rows("smooth", case.seed, case.classes as usize, case.dim);
    let identity = |i: u64| (mix((seed << 40) | i) % case.classes) as u32;
    let identities: Vec<u32> = (0..count as u64).map(identity).collect();
    let mut values = rows("smooth", seed, count, case.dim);
    for (row, identity) in values.chunks_mut(case.dim).zip(&identities) {
        let centre = &centres[*identity as usize * case.dim..];
        row.iter_mut().zip(centre).for_each(|(value, centre)| *value += centre / 2.0);
    }
    (values, identities)
}

#[test]
fn metrics_are_those_of_pytorch_metric_learning_and_scikit_learn() {
    for case in common::read_json::<Vec<Accuracy>>("retrieval/accuracy.json") {
        let (queries, identities) = people(&case, case.seed + 1, case.queries);
        let own: Vec<Option<u32>> = (0..case.queries as u32).map(Some).collect();
        let (gallery, gallery_identities, own) = match case.gallery {
            0 => (queries.clone(), identities.clone(), Some(own.as_slice())),
            count => {
                let (gallery, identities) = people(&case, case.seed + 2, count);
                (gallery, identities, None)
            }
        };
        for blocks in BLOCKS {
            let options = RetrievalOptions {
                metric: Metric::Euclidean,
                ks: vec![1, 2, 5, 10],
                blocks,
                ..RetrievalOptions::default()
            };
            let (result, hits) = evaluate(
                Matrix::new(&queries, case.dim).unwrap(),
                Matrix::new(&gallery, case.dim).unwrap(),
                Relevance::Identities { queries: &identities, gallery: &gallery_identities },
                own,
                &options,
                &silent,
            )
            .unwrap();
            let theirs = |name: &str| case.pytorch_metric_learning[name];
            for (name, ours, theirs) in [
                ("precision@1", result.precision_at_1, theirs("precision_at_1")),
                ("map", result.map, theirs("mean_average_precision")),
                ("map", result.map, case.map_sklearn),
                ("map@r", result.map_at_r, theirs("mean_average_precision_at_r")),
                ("r_precision", result.r_precision, theirs("r_precision")),
            ] {
                // Sums of at most some thousand fractions in float64.
                let name = format!("{}, {name}", case.name);
                assert!((ours - theirs).abs() <= 1e-12, "{name}: {ours} is not {theirs}");
            }
            assert_eq!(result.left_out, case.left_out, "{}", case.name);
            assert_eq!(result.queries + result.left_out, case.queries, "{}", case.name);
            let recall: BTreeMap<usize, f64> = result.recall.iter().copied().collect();
            assert_eq!(recall, case.recall, "{}", case.name);
            for (k, recall) in &result.recall {
                assert_eq!(result.cmc[k - 1], *recall, "{}", case.name);
            }
            let alone =
                search(&queries, &gallery, case.dim, 10, Metric::Euclidean, own, Blocks::default());
            assert_eq!(hits, alone, "{}", case.name);
        }
    }
}

fn search(
    queries: &[f32],
    gallery: &[f32],
    dim: usize,
    k: usize,
    metric: Metric,
    own: Option<&[Option<u32>]>,
    blocks: Blocks,
) -> Hits {
    let (queries, gallery) =
        (Matrix::new(queries, dim).unwrap(), Matrix::new(gallery, dim).unwrap());
    top_k_in_blocks(queries, gallery, k, metric, own, &silent, blocks).unwrap()
}

/// Numbers for one random case.
struct Draw {
    case: u64,
    count: u64,
}

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.count += 1;
        (derive(11, Stream::Pairs, self.case, self.count) % bound as u64) as usize
    }

    /// Few different values, or many, or far from zero and close together; rows may be repeated.
    fn matrix(&mut self, rows: usize, dim: usize, kind: usize) -> Vec<f32> {
        let mut values: Vec<f32> = Vec::new();
        for row in 0..rows {
            if row > 0 && self.below(4) == 0 {
                let copied = self.below(row);
                values.extend_from_within(copied * dim..(copied + 1) * dim);
                continue;
            }
            for j in 0..dim {
                values.push(match kind {
                    _ if j == 0 && kind != 2 => 1.0,
                    0 => self.below(3) as f32 - 1.0,
                    1 => self.below(1 << 20) as f32 / 1e5 - 5.0,
                    _ => 300.0 + self.below(1 << 10) as f32 / 1024.0,
                });
            }
        }
        values
    }
}

/// All gallery rows, best first, by the definition.
fn ranking(
    query: &[f32],
    gallery: &[f32],
    dim: usize,
    metric: Metric,
    own: Option<u32>,
) -> Vec<(u32, f32)> {
    let square = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let score = |row: &[f32]| {
        let pairs = || query.iter().zip(row).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        match metric {
            Metric::Cosine => {
                let dot: f64 = pairs().map(|(a, b)| a * b).sum();
                (dot * ((1.0 / square(query).sqrt()) * (1.0 / square(row).sqrt()))) as f32
            }
            Metric::Euclidean => pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>() as f32,
        }
    };
    let mut all: Vec<(u32, f32)> = (0..).zip(gallery.chunks(dim).map(score)).collect();
    all.retain(|(index, _)| Some(*index) != own);
    all.sort_by(|a, b| {
        let better = match metric {
            Metric::Cosine => b.1.partial_cmp(&a.1),
            Metric::Euclidean => a.1.partial_cmp(&b.1),
        };
        better.unwrap().then(a.0.cmp(&b.0))
    });
    all
}

#[test]
fn random_cases_equal_the_sorted_rows() {
    for case in 0..200 {
        let mut draw = Draw { case, count: 0 };
        // Below 16 dimensions the oracle adds in the same order, so that scores are the same bits.
        let (queries, gallery, dim) = (1 + draw.below(12), 1 + draw.below(80), 1 + draw.below(15));
        let kind = draw.below(3);
        let metric = Metric::ALL[draw.below(2)];
        let q = draw.matrix(queries, dim, kind);
        let mut g = draw.matrix(gallery, dim, kind);
        let own: Option<Vec<Option<u32>>> = (draw.below(2) == 0).then(|| {
            (0..queries).map(|i| (draw.below(3) > 0).then_some((i % gallery) as u32)).collect()
        });
        // Some queries are in the gallery.
        let shared = q.len().min(g.len()) / 2 / dim * dim;
        g[..shared].copy_from_slice(&q[..shared]);
        let k = 1 + draw.below(gallery + 3);
        let people = 1 + draw.below(9);
        let identities: Vec<u32> = (0..queries).map(|_| draw.below(people) as u32).collect();
        let of_gallery: Vec<u32> = (0..gallery).map(|_| draw.below(people) as u32).collect();
        let lists: Vec<Vec<u32>> = (identities.iter())
            .map(|person| {
                (0..gallery).filter(|i| of_gallery[*i] == *person).map(|i| i as u32).collect()
            })
            .collect();
        let blocks = Blocks {
            queries: 1 + draw.below(7),
            gallery: 1 + draw.below(30),
            wave: 1 + draw.below(20),
        };
        let hits = search(&q, &g, dim, k, metric, own.as_deref(), blocks);
        let own_of = |query: usize| own.as_ref().and_then(|own| own[query]);
        let mut ranks = Vec::new();
        for query in 0..queries {
            let row = &q[query * dim..(query + 1) * dim];
            let all = ranking(row, &g, dim, metric, own_of(query));
            let found: Vec<_> = hits.of(query).collect();
            assert_eq!(found, all[..k.min(all.len())], "case {case}, query {query}, {metric}");
            let relevant = |(_, (index, _)): &(u32, &(u32, f32))| {
                of_gallery[*index as usize] == identities[query]
            };
            ranks
                .push((1..).zip(&all).filter(relevant).map(|(rank, _)| rank).collect::<Vec<u32>>());
        }
        let options = RetrievalOptions { metric, top_k: k, blocks, ..RetrievalOptions::default() };
        for relevance in [
            Relevance::Identities { queries: &identities, gallery: &of_gallery },
            Relevance::Lists(&lists),
        ] {
            let (q, g) = (Matrix::new(&q, dim).unwrap(), Matrix::new(&g, dim).unwrap());
            let result = evaluate(q, g, relevance, own.as_deref(), &options, &silent);
            let counted: Vec<&Vec<u32>> = ranks.iter().filter(|ranks| !ranks.is_empty()).collect();
            let Ok((result, kept)) = result else {
                assert!(counted.is_empty(), "case {case}");
                continue;
            };
            assert_eq!((kept.k, &kept.indices), (hits.k, &hits.indices), "case {case}");
            // By bits: what stands beside no hit is not a number.
            let bits = |hits: &Hits| hits.scores.iter().map(|s| s.to_bits()).collect::<Vec<u32>>();
            assert_eq!(bits(&kept), bits(&hits), "case {case}");
            let mean = |of: &dyn Fn(&[u32]) -> f64| {
                counted.iter().map(|ranks| of(ranks)).sum::<f64>() / counted.len() as f64
            };
            let precisions = |ranks: &[u32], within: u32| -> f64 {
                let share = |(m, rank): (u32, &u32)| f64::from(m) / f64::from(*rank);
                let some = (1..).zip(ranks).filter(|(_, rank)| **rank <= within);
                some.map(share).sum::<f64>() / ranks.len() as f64
            };
            for (name, ours, expected) in [
                ("map", result.map, mean(&|ranks| precisions(ranks, u32::MAX))),
                ("map@r", result.map_at_r, mean(&|ranks| precisions(ranks, ranks.len() as u32))),
                ("recall@1", result.recall[0].1, mean(&|ranks| f64::from(ranks[0] <= 1))),
                ("recall@5", result.recall[1].1, mean(&|ranks| f64::from(ranks[0] <= 5))),
                ("cmc@10", result.cmc[9], mean(&|ranks| f64::from(ranks[0] <= 10))),
            ] {
                assert!((ours - expected).abs() < 1e-12, "case {case}, {name}: {ours}, {expected}");
            }
        }
    }
}

/// Captions 2i and 2i + 1 belong to image i; caption 0 is nearer to image 1.
#[test]
fn images_find_any_of_their_texts_and_texts_their_image() {
    let images = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
    let texts = [0.1, 1.0, 1.0, 0.1, 0.0, 1.0, 0.2, 1.0, -1.0, 0.1, -1.0, -0.1];
    let both = both_directions(
        Matrix::new(&images, 2).unwrap(),
        Matrix::new(&texts, 2).unwrap(),
        &[0, 0, 1, 1, 2, 2],
        &[1, 2, 3],
        2,
        &silent,
    )
    .unwrap();
    let hits: Vec<u32> = both.texts_of_image.of(0).map(|(text, _)| text).collect();
    assert_eq!(hits, [1, 3]);
    assert_eq!(both.images_of_text.of(4).next().unwrap().0, 2);
    assert_eq!(both.image_to_text.recall, [(1, 1.0), (2, 1.0), (3, 1.0)]);
    assert_eq!(both.text_to_image.recall, [(1, 5.0 / 6.0), (2, 1.0), (3, 1.0)]);
    let names: Vec<String> = both.metrics().into_iter().map(|metric| metric.name).collect();
    assert_eq!(names[0], "image_to_text/recall@1");
    assert_eq!(names[5], "text_to_image/recall@3");
}

#[test]
fn metrics_have_their_names() {
    let values = rows("smooth", 3, 12, 4);
    let matrix = Matrix::new(&values, 4).unwrap();
    let identities: Vec<u32> = (0..12).map(|i| i % 3).collect();
    let own: Vec<Option<u32>> = (0..12).map(Some).collect();
    let relevance = Relevance::Identities { queries: &identities, gallery: &identities };
    let options = RetrievalOptions::default();
    let (result, hits) =
        evaluate(matrix, matrix, relevance, Some(&own), &options, &silent).unwrap();
    assert_eq!((hits.k, hits.queries()), (10, 12));
    let names: Vec<String> = result.metrics().into_iter().map(|metric| metric.name).collect();
    let expected =
        "recall@1 recall@5 recall@10 precision@1 map map@r r_precision cmc@1 cmc@5 cmc@10";
    assert_eq!(names.join(" "), expected);
}

#[test]
fn mistakes_are_told() {
    let ones = Matrix::new(&[1.0; 6], 3).unwrap();
    let pairs = Matrix::new(&[1.0; 6], 2).unwrap();
    let none = Matrix::new(&[], 3).unwrap();
    let zero = Matrix::new(&[1.0, 1.0, 1.0, 0.0, 0.0, 0.0], 3).unwrap();
    let infinite = Matrix::new(&[1.0, 1.0, f32::INFINITY], 3).unwrap();
    let nan = Matrix::new(&[1.0, 1.0, f32::NAN], 3).unwrap();
    let huge = Matrix::new(&[1.0, 1.0, 1e19], 3).unwrap();
    let find = |queries, gallery, k, metric| top_k(queries, gallery, k, metric, None, &silent);
    for (queries, gallery, k, metric, expected) in [
        (ones, none, 1, Metric::Cosine, "the gallery is empty"),
        (ones, ones, 0, Metric::Cosine, "a search for 0 hits"),
        (ones, pairs, 1, Metric::Cosine, "3 dimensions and gallery embeddings 2"),
        (ones, zero, 1, Metric::Cosine, "gallery embedding 1 is zero"),
        (infinite, ones, 1, Metric::Cosine, "query embedding 0 is not finite"),
        (nan, ones, 1, Metric::Euclidean, "query embedding 0 is not finite"),
        (huge, ones, 1, Metric::Euclidean, "query embedding 0 is too large"),
    ] {
        let error = find(queries, gallery, k, metric).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    assert!(Matrix::new(&[1.0; 7], 3).is_err() && Matrix::new(&[], 0).is_err());
    // Zero has a place, if no direction; a k beyond the gallery is all of it; no query, no hit.
    assert_eq!(find(ones, zero, 9, Metric::Euclidean).unwrap().indices, [0, 1, 0, 1]);
    assert_eq!(find(none, ones, 1, Metric::Cosine).unwrap().queries(), 0);
    let identities: (&[u32], &[u32]) = (&[0, 1], &[2, 3]);
    let relevance = Relevance::Identities { queries: identities.0, gallery: identities.1 };
    let options = RetrievalOptions::default();
    let error = evaluate(ones, ones, relevance, None, &options, &silent).unwrap_err();
    assert!(error.to_string().contains("none of 2 queries has a relevant image"), "{error}");
}

#[test]
fn a_query_alone_in_the_gallery_has_no_hit() {
    let one = Matrix::new(&[1.0, 2.0], 2).unwrap();
    let hits = top_k(one, one, 3, Metric::Cosine, Some(&[Some(0)]), &silent).unwrap();
    assert_eq!((hits.k, hits.indices.len()), (0, 0));
    let two = Matrix::new(&[1.0, 2.0, 1.0, 3.0], 2).unwrap();
    let hits = top_k(two, one, 1, Metric::Cosine, Some(&[Some(0), None]), &silent).unwrap();
    assert_eq!(hits.indices, [Hits::NONE, 0]);
    assert_eq!((hits.of(0).count(), hits.of(1).count()), (0, 1));
}
