//! `View`: which numbers of a storage a tensor is made of - shape, strides and a first number.

use super::problem::{Outcome, Problem, within};
use crate::ops::transpose;

/// Numbers that a view may have beyond those of its storage, which it then repeats.
const MAX_REPEATED_NUMBERS: u64 = 1 << 24;
/// Axes of a tensor.
const MAX_AXES: u64 = 16;

/// A tensor inside a storage; strides and offset count numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) shape: Vec<usize>,
    strides: Vec<usize>,
    /// The first number it touches.
    pub(super) offset: usize,
    /// How many numbers lie between the first and the last, both included.
    pub(super) extent: usize,
}

impl View {
    /// A view of a storage of `len` numbers.
    ///
    /// # Errors
    /// It leads out of the storage, or is beyond a limit.
    pub(super) fn new(
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        len: usize,
    ) -> Outcome<Self> {
        within("axes of a tensor", shape.len() as u64, MAX_AXES)?;
        if shape.len() != strides.len() {
            return Err(Problem::bad(format!("a tensor {shape:?} with strides {strides:?}")));
        }
        let extent = extent(&shape, &strides).filter(|n| offset.checked_add(*n) <= Some(len));
        let extent = extent.ok_or_else(|| {
            Problem::bad(format!(
                "a tensor {shape:?} with strides {strides:?} from {offset} leads out of its \
                 {len} numbers"
            ))
        })?;
        let count = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64));
        let limit = MAX_REPEATED_NUMBERS.saturating_add(len as u64);
        within("numbers of a tensor", count.unwrap_or(u64::MAX), limit)?;
        Ok(Self { shape, strides, offset, extent })
    }

    /// All of a storage, the first axis outermost.
    ///
    /// # Errors
    /// As [`View::new`].
    pub(super) fn row_major(shape: Vec<usize>, len: usize) -> Outcome<Self> {
        let strides = row_major(shape.iter().rev().copied());
        Self::new(shape, strides.into_iter().rev().collect(), 0, len)
    }

    /// All of a storage, the last axis outermost (Fortran's order).
    ///
    /// # Errors
    /// As [`View::new`].
    pub(super) fn column_major(shape: Vec<usize>, len: usize) -> Outcome<Self> {
        let strides = row_major(shape.iter().copied());
        Self::new(shape, strides, 0, len)
    }

    /// How many numbers the tensor has.
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The tensor's numbers in row-major order, from those between its first and its last.
    pub(super) fn gather<T: Copy + Send + Sync>(&self, touched: Vec<T>) -> Vec<T> {
        // Axes of length 1 say nothing.
        let axes: Vec<(usize, usize)> = self
            .shape
            .iter()
            .copied()
            .zip(self.strides.iter().copied())
            .filter(|(n, _)| *n != 1)
            .collect();
        match *axes.as_slice() {
            _ if touched.len() == self.count() && is_row_major(&axes) => touched,
            [(rows, 1), (cols, stride)] if stride == rows => transpose(&touched, cols, rows),
            _ => gather(&touched, &axes, self.count()),
        }
    }
}

/// Strides of axes that are given innermost first.
fn row_major(axes: impl Iterator<Item = usize>) -> Vec<usize> {
    axes.scan(1usize, |next, n| {
        let stride = *next;
        *next = next.saturating_mul(n.max(1));
        Some(stride)
    })
    .collect()
}

fn is_row_major(axes: &[(usize, usize)]) -> bool {
    let strides = row_major(axes.iter().rev().map(|(n, _)| *n));
    axes.iter().rev().map(|(_, stride)| *stride).eq(strides)
}

/// Numbers from the first to the last; `None` if there are too many to count.
fn extent(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(0usize, |at, (n, stride)| at.checked_add(stride.checked_mul(n - 1)?))?;
    last.checked_add(1)
}

fn gather<T: Copy>(touched: &[T], axes: &[(usize, usize)], count: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(count);
    let mut index = vec![0usize; axes.len()];
    let mut at = 0;
    for _ in 0..count {
        values.push(touched[at]);
        for (i, (n, stride)) in index.iter_mut().zip(axes).rev() {
            *i += 1;
            at += stride;
            if *i < *n {
                break;
            }
            at -= stride * n;
            *i = 0;
        }
    }
    values
}
