//! All queries against the whole gallery, a block of products at a time.

use super::space::{Bounds, Packed, Space};
use crate::torch::threads;
use crate::{Error, Result};
use gemm::Parallelism;
use rayon::prelude::*;
use std::sync::Mutex;

/// Is told the queries that are done and all of them; false stops the search.
pub type Progress<'a> = &'a crate::data::Progress<'a>;

/// A search that its progress stopped.
pub fn stopped() -> Error {
    Error::stopped("stopped while the gallery was searched")
}

/// How much is held at a time. With D dimensions, T threads and k hits, beside the embeddings and
/// the result: `4 (2 gallery D + T (queries D + queries gallery))` bytes of products and packed rows
/// and `8 wave (k + 1)` bytes of candidates, and 8 bytes for each embedding. No result depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Queries of one product.
    pub queries: usize,
    /// Gallery embeddings of one product.
    pub gallery: usize,
    /// Queries that are searched for at a time; the gallery is read once for each wave.
    pub wave: usize,
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks { queries: 512, gallery: 1024, wave: 16_384 }
    }
}

/// Products of one query with a block of the gallery.
pub struct Row<'a> {
    pub query: usize,
    /// The gallery row of the first product.
    pub first: usize,
    pub products: &'a [f32],
    pub bounds: Bounds,
}

#[derive(Default)]
struct Scratch {
    queries: Packed,
    products: Vec<f32>,
}

/// Calls `visit` for every query with each block of the gallery in turn, in the gallery's order.
/// A query's state is made by `begin` and given to `end`, both in the queries' order for `end`.
///
/// # Errors
/// `Stopped` where `progress` says so.
pub fn for_each_block<S: Send>(
    space: &Space<'_>,
    blocks: Blocks,
    progress: Progress<'_>,
    begin: impl Fn(usize) -> S + Sync,
    visit: impl Fn(Row<'_>, &mut S) + Sync,
    mut end: impl FnMut(usize, S) + Send,
) -> Result<()> {
    let pool = pool(threads::get())?;
    let (queries, gallery) = (space.queries.rows(), space.gallery.rows());
    let threads = pool.current_num_threads();
    let scratch: Vec<Mutex<Scratch>> = (0..threads).map(|_| Mutex::default()).collect();
    let block = |length: usize| length.max(1);
    pool.install(|| -> Result<()> {
        let mut packed = Packed::default();
        for wave in (0..queries).step_by(block(blocks.wave)) {
            let wave_end = queries.min(wave + block(blocks.wave));
            // Few queries are still shared among the threads.
            let share = (wave_end - wave).div_ceil(threads);
            let height = block(blocks.queries).min(share);
            let mut states: Vec<S> = (wave..wave_end).into_par_iter().map(&begin).collect();
            for first in (0..gallery).step_by(block(blocks.gallery)) {
                let width = block(blocks.gallery).min(gallery - first);
                space.pack_gallery(first, first + width, &mut packed);
                packed.turn(space.gallery.dim());
                states.par_chunks_mut(height).enumerate().for_each(|(task, states)| {
                    let thread = rayon::current_thread_index().unwrap_or_default();
                    let mut scratch = match scratch[thread].lock() {
                        Ok(scratch) => scratch,
                        Err(poisoned) => poisoned.into_inner(),
                    };
                    let Scratch { queries, products } = &mut *scratch;
                    let query = wave + task * height;
                    space.pack_queries(query, query + states.len(), queries);
                    multiply(queries, &packed, space.gallery.dim(), products);
                    for (row, state) in states.iter_mut().enumerate() {
                        let products = &products[row * width..(row + 1) * width];
                        let bounds = space.bounds(queries, row, &packed);
                        visit(Row { query: query + row, first, products, bounds }, state);
                    }
                });
                let done = (wave_end - wave) as u128 * (first + width) as u128 / gallery as u128;
                if !progress(wave + done as usize, queries) {
                    return Err(stopped());
                }
            }
            for (query, state) in (wave..).zip(states) {
                end(query, state);
            }
        }
        Ok(())
    })
}

pub fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::failed(format!("cannot start threads for the search: {e}")))
}

/// `products[q][g] = a_q . b_g - half(b_g)`.
fn multiply(queries: &Packed, gallery: &Packed, dim: usize, products: &mut Vec<f32>) {
    let (rows, width) = (queries.half.len(), gallery.half.len());
    products.resize(rows * width, 0.0);
    // Without norms to subtract, the products need not be written twice.
    let adds = gallery.half.iter().any(|half| *half != 0.0);
    if adds {
        for row in products.chunks_mut(width) {
            for (product, half) in row.iter_mut().zip(&gallery.half) {
                *product = -half;
            }
        }
    }
    let (a, b) = (&queries.values[..rows * dim], &gallery.columns[..width * dim]);
    let (step, height) = (dim as isize, width as isize);
    // SAFETY: column q of the destination (width x rows) begins at q * width in `products`; column d
    // of the left side (width x dim) at d * width in `b`; column q of the right side (dim x rows) at
    // q * dim in `a`. All within the slices, which do not overlap.
    unsafe {
        let to = products.as_mut_ptr();
        let (left, right) = (b.as_ptr(), a.as_ptr());
        gemm::gemm(
            width,
            rows,
            dim,
            to,
            height,
            1,
            adds,
            left,
            height,
            1,
            right,
            step,
            1,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
