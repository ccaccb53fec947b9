//! Matching pursuit: latents chosen one after another, each by what the ones before have left.

use rayon::prelude::*;

use super::encode::encode_best;
use super::gemm::Mat;
use super::vector;
use crate::sae::{Codes, MatchingPursuit};

/// Latents that a row chose, with their values, in the order of choice.
pub type Choices = Vec<(u32, f32)>;

/// A row on its way.
struct Row {
    residual: Vec<f32>,
    choices: Choices,
    done: bool,
}

/// The latents that each row of `x` chooses: `x` `[rows, d_in]`, `w_dec` `[d_sae, d_in]`.
///
/// Each time the latent `i` whose direction `w_i` has the largest product with what is left, `r`, gets
/// `v = ReLU(r w_i)` more, and `v w_i` is taken from `r`. Of equal ones the lowest is chosen. A choice
/// of value zero changes nothing and is left out; one that is no number is kept, and ends its row.
pub fn pursue(x: &[f32], w_dec: &[f32], d_in: usize, stop: &MatchingPursuit) -> Vec<Choices> {
    let d_sae = w_dec.len() / d_in.max(1);
    let start = |x: &[f32]| Row { residual: x.to_vec(), choices: Vec::new(), done: false };
    let mut rows: Vec<Row> = x.chunks_exact(d_in.max(1)).map(start).collect();
    for _ in 0..stop.max_iterations.unwrap_or(d_in) {
        let mut open: Vec<&mut Row> = rows.iter_mut().filter(|row| !row.done).collect();
        let left: Vec<f32> = open.iter().flat_map(|row| row.residual.iter().copied()).collect();
        let (Some(lhs), Some(rhs), false) = (
            Mat::new(&left, (open.len(), d_in), (d_in, 1)),
            Mat::new(w_dec, (d_in, d_sae), (1, d_in)),
            open.is_empty() || d_sae == 0,
        ) else {
            break;
        };
        let best = encode_best(lhs, rhs, (1, 0.0), |_, _| {});
        open.par_iter_mut().enumerate().for_each(|(i, row)| {
            let direction = |latent: &u32| (*latent, &w_dec[*latent as usize * d_in..][..d_in]);
            match best.row(i).0.first().map(direction) {
                Some((latent, direction)) => row.choose(latent, direction, stop),
                // Nothing points along what is left, now and ever after.
                None => row.done = true,
            }
        });
    }
    rows.into_iter().map(|row| row.choices).collect()
}

/// What each of `d_sae` latents got from every row.
pub fn gather(choices: &[Choices], d_sae: usize) -> Codes {
    let sums = |row: &Choices| {
        let mut row = row.clone();
        row.sort_by_key(|(latent, _)| *latent); // stable: values are added in the order of choice
        row.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        row
    };
    Codes::from_rows(d_sae, &choices.par_iter().map(sums).collect::<Vec<_>>())
}

impl Row {
    fn choose(&mut self, latent: u32, direction: &[f32], stop: &MatchingPursuit) {
        let mut value = [0f32];
        vector::dots(&mut value, &self.residual, |_| direction);
        let [value] = value;
        if value <= 0.0 {
            self.done = true;
            return;
        }
        let new = self.choices.iter().all(|(chosen, _)| *chosen != latent);
        self.choices.push((latent, value));
        vector::accumulate(&mut self.residual, &[-value], |_| direction);
        let left = f64::from(vector::sum_squares(&self.residual, 0.0)).sqrt();
        let little = stop.residual_threshold > 0.0 && left < stop.residual_threshold;
        self.done = little || value.is_nan() || (stop.stop_on_duplicate_support && !new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: MatchingPursuit = MatchingPursuit {
        residual_threshold: 1e-2,
        max_iterations: None,
        stop_on_duplicate_support: true,
    };

    #[test]
    fn along_axes_nothing_is_left() {
        let unit = [1.0, 0.0, 0.0, 1.0];
        let chosen = pursue(&[3.0, 4.0, -1.0, 0.0], &unit, 2, &STOP);
        assert_eq!(chosen, [vec![(1, 4.0), (0, 3.0)], vec![]]);
    }

    #[test]
    fn a_latent_chosen_again_ends_the_row_or_not() {
        let half = [0.5];
        assert_eq!(pursue(&[8.0], &half, 1, &STOP)[0], [(0, 4.0)]);
        let on =
            MatchingPursuit { max_iterations: Some(3), stop_on_duplicate_support: false, ..STOP };
        assert_eq!(pursue(&[8.0], &half, 1, &on)[0], [(0, 4.0), (0, 3.0), (0, 2.25)]);
    }

    #[test]
    fn what_is_no_number_is_seen() {
        assert!(pursue(&[f32::NAN, 1.0], &[1.0, 0.0], 2, &STOP)[0][0].1.is_nan());
    }
}
