//! Embeddings, one per row, without a copy.

use crate::{Error, Result};

/// A row-major matrix of float32.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    dim: usize,
}

impl<'a> Matrix<'a> {
    /// `values`: rows of `dim` values each.
    ///
    /// # Errors
    /// No dimension, or values that fill no whole number of rows.
    pub fn new(values: &'a [f32], dim: usize) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            let message = format!("{} values are no rows of {dim}", values.len());
            return Err(Error::input(message));
        }
        if values.len() / dim > u32::MAX as usize {
            return Err(Error::input(format!("{} embeddings are too many", values.len() / dim))
                .help("search at most 4,294,967,295 at a time"));
        }
        Ok(Matrix { values, dim })
    }

    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// # Panics
    /// Where there is no such row.
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.dim..(index + 1) * self.dim]
    }

    /// The rows `first..end`.
    pub(super) fn slice(&self, first: usize, end: usize) -> Matrix<'a> {
        Matrix { values: &self.values[first * self.dim..end * self.dim], dim: self.dim }
    }
}
