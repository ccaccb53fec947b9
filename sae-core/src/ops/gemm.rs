//! Matrix products on slices: the only `unsafe` of this crate.
//!
//! A thin, bounds-checked skin over the `gemm` crate (the kernel that candle itself uses on the
//! CPU), and a tiled product whose tiles pass through an epilogue while they are still in cache.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::stream::{is_narrow, stream};
use super::thin::{is_thin, multiply};
use super::vector::widest;

/// A read-only matrix on a slice, with any strides.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, T = f32> {
    data: &'a [T],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Distance between rows, in elements.
    pub row_stride: usize,
    /// Distance between columns, in elements.
    pub col_stride: usize,
}

impl<'a, T: Copy> Mat<'a, T> {
    /// A matrix of `rows` x `cols` on `data`; `None` if the last element lies outside.
    pub fn new(
        data: &'a [T],
        (rows, cols): (usize, usize),
        (row_stride, col_stride): (usize, usize),
    ) -> Option<Self> {
        let last = rows.saturating_sub(1) * row_stride + cols.saturating_sub(1) * col_stride;
        (rows * cols == 0 || last < data.len()).then_some(Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride,
        })
    }

    /// Rows `from..from + rows` and columns `col..col + cols`.
    pub(super) fn block(self, (row, rows): (usize, usize), (col, cols): (usize, usize)) -> Self {
        debug_assert!(row + rows <= self.rows && col + cols <= self.cols);
        let data = &self.data[row * self.row_stride + col * self.col_stride..];
        Self { data, rows, cols, ..self }
    }

    /// Row `row`, when columns are contiguous.
    pub fn row(&self, row: usize) -> &'a [T] {
        debug_assert_eq!(self.col_stride, 1);
        &self.data[row * self.row_stride..][..self.cols]
    }

    /// Column `col`, when rows are contiguous along it.
    pub fn col(&self, col: usize) -> &'a [T] {
        debug_assert_eq!(self.row_stride, 1);
        &self.data[col * self.col_stride..][..self.rows]
    }
}

/// `dst = scale * lhs rhs`, with `dst` row-major of row stride `dst_stride`; one thread.
///
/// # Panics
/// `dst` is too short or the inner dimensions differ: callers check shapes first.
pub fn gemm(dst: &mut [f32], dst_stride: usize, lhs: Mat<'_>, rhs: Mat<'_>, scale: f32) {
    let (m, n) = (lhs.rows, rhs.cols);
    if m == 0 || n == 0 {
        return;
    }
    assert!(dst_stride >= n && (m - 1) * dst_stride + n <= dst.len(), "destination too short");
    // SAFETY: the assertion above shows that every row of the destination lies inside `dst`,
    // which is borrowed exclusively.
    unsafe { gemm_raw(dst.as_mut_ptr(), dst_stride, lhs, rhs, scale) }
}

/// # Safety
/// `dst` must be valid for writes of `lhs.rows` rows of `rhs.cols` elements, `stride` apart.
unsafe fn gemm_raw(dst: *mut f32, stride: usize, lhs: Mat<'_>, rhs: Mat<'_>, scale: f32) {
    assert_eq!(lhs.cols, rhs.rows, "inner dimensions differ");
    // A slice never holds more than isize::MAX bytes, so no stride inside one overflows.
    let signed = usize::cast_signed;
    // SAFETY: `Mat::new` checked that all elements of both operands lie inside their slices; the
    // caller vouches for `dst`, which cannot alias them because it is exclusively borrowed.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.cols,
            lhs.cols,
            dst,
            1,
            signed(stride),
            false,
            lhs.data.as_ptr(),
            signed(lhs.col_stride),
            signed(lhs.row_stride),
            rhs.data.as_ptr(),
            signed(rhs.col_stride),
            signed(rhs.row_stride),
            0.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Columns of a tile: enough to pack the left side seldom, few enough to stay in cache.
const TILE_COLS: usize = 1024;
/// Rows of a tile.
const TILE_ROWS: usize = 1024;
/// Tiles wanted per thread, so that threads end together.
const TILES_PER_THREAD: usize = 3;
/// Fewer columns than this do not pay.
const LEAST_COLS: usize = 128;

/// How to cut an `m` x `n` product into tiles: rows and columns of one tile.
fn tile_shape(m: usize, n: usize) -> (usize, usize) {
    let wanted = rayon::current_num_threads() * TILES_PER_THREAD;
    let rows = m.min(TILE_ROWS);
    let row_tiles = m.div_ceil(rows);
    let col_tiles = wanted.div_ceil(row_tiles).max(n.div_ceil(TILE_COLS));
    let cols = n.div_ceil(col_tiles).next_multiple_of(16).max(LEAST_COLS.min(n));
    (rows, cols)
}

/// `out = lhs rhs` (row-major `[lhs.rows, rhs.cols]`), all threads; `finish(row, col, segment)` is
/// called once for every row segment of every tile after it was computed.
///
/// The cut depends on the shapes and the number of threads, never on timing; each element is
/// computed by one call of the kernel over the whole inner dimension.
///
/// # Panics
/// `out` has another length or the inner dimensions differ: callers check shapes first.
pub fn gemm_tiled(
    out: &mut [f32],
    lhs: Mat<'_>,
    rhs: Mat<'_>,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let (m, n) = (lhs.rows, rhs.cols);
    assert_eq!(out.len(), m * n, "destination of another size");
    assert_eq!(lhs.cols, rhs.rows, "inner dimensions differ");
    if out.is_empty() {
        return;
    }
    let (rows, cols) = tile_shape(m, n);
    let tiles: Vec<(usize, usize)> =
        (0..n).step_by(cols).flat_map(|c| (0..m).step_by(rows).map(move |r| (r, c))).collect();
    let out = SendPtr(out.as_mut_ptr());
    tiles.into_par_iter().for_each(|(row, col)| {
        let (height, width) = (rows.min(m - row), cols.min(n - col));
        let out = &out;
        // SAFETY: the tile lies inside the m x n matrix behind `out`, and tiles do not overlap, so
        // this thread alone touches these elements.
        unsafe {
            let tile = out.0.add(row * n + col);
            let left = lhs.block((row, height), (0, lhs.cols));
            let right = rhs.block((0, rhs.rows), (col, width));
            let segment = |r: usize| std::slice::from_raw_parts_mut(tile.add(r * n), width);
            if is_thin(left, right) {
                multiply(&mut (0..height).map(segment).collect::<Vec<_>>(), left, right);
            } else {
                gemm_raw(tile, n, left, right, 1.0);
            }
            (0..height).for_each(|r| finish(row + r, col, segment(r)));
        }
    });
}

/// Values of a panel: what a second-level cache holds.
const PANEL: usize = 1 << 17;

/// Columns of a panel of `depth` rows.
pub(super) fn panel_width(depth: usize) -> usize {
    (PANEL / depth.max(1)).next_multiple_of(16).clamp(64, TILE_COLS)
}

/// `out = lhs rhs` where `rhs`, `n` columns wide, is made panel by panel: `panel(col, cols, scratch)`
/// fills `scratch` with columns `col..col + cols` and returns their strides (of rows, of columns).
/// Panels are `width` columns wide; `finish` as in [`gemm_tiled`].
///
/// # Panics
/// `out` has another length, or `scratch` is filled with too little.
pub fn gemm_panels(
    out: &mut [f32],
    lhs: Mat<'_>,
    (n, width): (usize, usize),
    panel: impl Fn(usize, usize, &mut Vec<f32>) -> (usize, usize) + Sync,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let m = lhs.rows;
    assert_eq!(out.len(), m * n, "destination of another size");
    if out.is_empty() {
        return;
    }
    let out = SendPtr(out.as_mut_ptr());
    let panels: Vec<usize> = (0..n).step_by(width.max(1)).collect();
    panels.into_par_iter().for_each_init(Vec::new, |scratch, col| {
        let cols = width.min(n - col);
        let strides = panel(col, cols, scratch);
        let Some(rhs) = Mat::new(scratch, (lhs.cols, cols), strides) else {
            panic!("a panel of {cols} columns was not filled");
        };
        let out = &out;
        for row in (0..m).step_by(TILE_ROWS) {
            let height = TILE_ROWS.min(m - row);
            // SAFETY: the tile lies inside the m x n matrix behind `out`, and panels do not
            // overlap, so this thread alone touches these elements.
            unsafe {
                let tile = out.0.add(row * n + col);
                gemm_raw(tile, n, lhs.block((row, height), (0, lhs.cols)), rhs, 1.0);
                for r in 0..height {
                    let segment = std::slice::from_raw_parts_mut(tile.add(r * n), cols);
                    finish(row + r, col, segment);
                }
            }
        }
    });
}

/// Parts into which [`gemm_scan`] cuts a product, whatever the number of threads: the same bits come
/// out on any machine, and there is work for all of its threads.
const SCAN_PARTS: usize = 16;

/// `lhs rhs` tile by tile without ever holding the whole product. The product is cut into blocks of
/// rows and columns; each has a state that `start(rows)` makes, and `take(state, tile)` gets its tiles
/// from left to right, in scratch that is reused. Back come the states with the first row of their
/// blocks, row block by row block and left to right.
///
/// # Panics
/// The inner dimensions differ: callers check shapes first.
pub fn gemm_scan<S: Send>(
    lhs: Mat<'_>,
    rhs: Mat<'_>,
    start: impl Fn(usize) -> S + Sync,
    take: impl Fn(&mut S, Tile<'_>) + Sync,
) -> Vec<(usize, S)> {
    let (m, n) = (lhs.rows, rhs.cols);
    if m == 0 || n == 0 {
        return Vec::new();
    }
    let rows = m.min(TILE_ROWS);
    let across = SCAN_PARTS.div_ceil(m.div_ceil(rows));
    let part = n.div_ceil(across);
    // Whole tiles where a part has several.
    let part = part.next_multiple_of(if part > TILE_COLS { TILE_COLS } else { 16 });
    let part = part.max(LEAST_COLS.min(n));
    let blocks: Vec<(usize, usize)> =
        (0..m).step_by(rows).flat_map(|r| (0..n).step_by(part).map(move |c| (r, c))).collect();
    let scan = |scratch: &mut Vec<f32>, (row, from): (usize, usize)| {
        let height = rows.min(m - row);
        let left = lhs.block((row, height), (0, lhs.cols));
        let mut state = start(height);
        let to = (from + part).min(n);
        for col in (from..to).step_by(TILE_COLS) {
            let width = TILE_COLS.min(to - col);
            scratch.resize(rows * TILE_COLS.min(part), 0.0);
            let values = &mut scratch[..height * width];
            let right = rhs.block((0, rhs.rows), (col, width));
            if is_narrow(left, right) {
                stream(values, left, right);
            } else if is_thin(left, right) {
                multiply(&mut values.chunks_exact_mut(width).collect::<Vec<_>>(), left, right);
            } else {
                gemm(values, width, left, right, 1.0);
            }
            take(&mut state, Tile { row, col, rows: height, cols: width, values });
        }
        (row, state)
    };
    blocks.into_par_iter().map_init(Vec::new, scan).collect()
}

/// One tile of a product: its place and its values, row-major.
#[derive(Debug)]
pub struct Tile<'a> {
    /// First row.
    pub row: usize,
    /// First column.
    pub col: usize,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// `[rows, cols]`, at most [`TILE_COLS`] columns.
    pub values: &'a [f32],
}

impl Tile<'_> {
    /// Call `f(row, products)` for each row, counted from that of the tile, as vector code if its body is marked
    /// `#[inline(always)]`. What `f` changes is a copy: the tile does not fit in the inner caches, and is not
    /// written a second time.
    #[inline(always)]
    pub(super) fn each_row(&self, mut f: impl FnMut(usize, &mut [f32])) {
        let mut copy = [0f32; TILE_COLS];
        let copy = &mut copy[..self.cols];
        for (row, products) in self.values.chunks_exact(self.cols).enumerate() {
            widest(
                #[inline(always)]
                || {
                    copy.copy_from_slice(products);
                    f(row, copy);
                },
            );
        }
    }
}

struct SendPtr(*mut f32);
// SAFETY: used only to hand disjoint tiles of one exclusively borrowed slice to threads.
unsafe impl Sync for SendPtr {}
// SAFETY: as above.
unsafe impl Send for SendPtr {}
