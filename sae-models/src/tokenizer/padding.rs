//! Padding rows to one length, and telling padding from text.

/// The side on which padding stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PaddingSide {
    /// After the text: right for caching, since positions stay.
    #[default]
    Right,
    /// Before the text: right for generating, since texts end together.
    Left,
}

/// Rows of the length of the longest.
pub(super) fn pad(mut rows: Vec<Vec<u32>>, pad: u32, side: PaddingSide) -> Vec<Vec<u32>> {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    for row in &mut rows {
        let missing = vec![pad; width - row.len()];
        match side {
            PaddingSide::Right => row.extend(missing),
            PaddingSide::Left => row.splice(..0, missing).for_each(drop),
        }
    }
    rows
}

/// 1 for tokens and 0 for padding: the trailing (right) or leading (left) run of `pad`. With
/// `keep_bos` the last of a leading run is a BOS that looks like padding, and counts as a token.
pub fn attention_mask(
    rows: &[Vec<u32>],
    pad: u32,
    side: PaddingSide,
    keep_bos: bool,
) -> Vec<Vec<u8>> {
    let one = |row: &Vec<u32>| {
        let mut mask = vec![1u8; row.len()];
        match side {
            PaddingSide::Right => {
                let run = row.iter().rev().take_while(|id| **id == pad).count();
                mask[row.len() - run..].fill(0);
            }
            PaddingSide::Left => {
                let run = row.iter().take_while(|id| **id == pad).count();
                mask[..run.saturating_sub(usize::from(keep_bos))].fill(0);
            }
        }
        mask
    };
    rows.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bos_that_looks_like_padding_is_kept_on_the_left() {
        let rows = pad(vec![vec![0, 5, 6], vec![0, 7]], 0, PaddingSide::Left);
        assert_eq!(rows, [[0, 5, 6], [0, 0, 7]]);
        assert_eq!(attention_mask(&rows, 0, PaddingSide::Left, true), [[1, 1, 1], [0, 1, 1]]);
        assert_eq!(attention_mask(&rows, 0, PaddingSide::Left, false), [[0, 1, 1], [0, 0, 1]]);
    }

    #[test]
    fn padding_on_the_right_is_the_trailing_run() {
        let rows = pad(vec![vec![0, 5, 0, 6], vec![7, 0]], 0, PaddingSide::Right);
        assert_eq!(
            attention_mask(&rows, 0, PaddingSide::Right, true),
            [[1, 1, 1, 1], [1, 0, 0, 0]]
        );
    }
}
