//! Axes: where values stand in a plot, and round numbers beside it.

use std::cmp::Ordering;
use std::fmt::Write as _;

/// Numbers beside an axis, about this many.
const TICKS: f64 = 6.0;
/// Decimals of the smallest step that is written out in full.
const DECIMALS: i32 = 6;

/// A scale from values to coordinates, both ends at round numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    low: f64,
    step: f64,
    steps: u32,
    /// Coordinates of both ends.
    from: f64,
    to: f64,
}

impl Axis {
    /// Wide enough for every finite value, and for zero if `zero`; drawn between `from` and `to`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn over(values: &[f64], zero: bool, (from, to): (f64, f64)) -> Self {
        let start = if zero { (0.0, 0.0) } else { (f64::INFINITY, f64::NEG_INFINITY) };
        let finite = values.iter().filter(|v| v.is_finite());
        let (low, high) = finite.fold(start, |(low, high), v| (low.min(*v), high.max(*v)));
        // Nothing at all, or one value only: some room around it.
        let (low, high) = match low.partial_cmp(&high) {
            Some(Ordering::Less) => (low, high),
            Some(Ordering::Equal) => {
                (low - 0.5 * low.abs().max(1.0), low + 0.5 * low.abs().max(1.0))
            }
            _ => (0.0, 1.0),
        };
        let step = round_step((high - low) / TICKS);
        let first = (low / step).floor();
        let steps = ((high / step).ceil() - first).clamp(1.0, 4.0 * TICKS) as u32;
        Self { low: first * step, step, steps, from, to }
    }

    fn high(&self) -> f64 {
        self.low + self.step * f64::from(self.steps)
    }

    /// The coordinate of a value; what is no number stands at the lower end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high() - self.low);
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.from + share * (self.to - self.from)
    }

    /// Round values, and how they are written.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let value = |i: u32| self.low + self.step * f64::from(i);
        (0..=self.steps).map(|i| (value(i), written(value(i), self.step))).collect()
    }
}

/// The next of 1, 2 and 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|s| s * power >= least * 0.999_999);
    let step = step.unwrap_or(10.0) * power;
    if step.is_finite() && step > 0.0 { step } else { 1.0 }
}

/// A multiple of `step`, with as many decimals as the step has.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn written(value: f64, step: f64) -> String {
    let decimals = -step.log10().floor() as i32;
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    match decimals {
        d if d > DECIMALS || value.abs() >= 1e7 => format!("{value:.1e}"),
        d => format!("{value:.*}", d.max(0) as usize),
    }
}

/// A grid line and a number per tick of both axes, and what the axes are.
pub(super) fn frame(x: (&Axis, &str), y: (&Axis, &str)) -> String {
    let mut svg = String::new();
    let (left, right) = (x.0.from, x.0.to);
    let (bottom, top) = (y.0.from, y.0.to);
    // (Writing to a String cannot fail.)
    for (value, text) in y.0.ticks() {
        let at = y.0.at(value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            left - 6.0,
            at + 4.0
        );
    }
    for (value, text) in x.0.ticks() {
        let at = x.0.at(value);
        let _ = write!(
            svg,
            "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
            bottom + 5.0,
            bottom + 18.0
        );
    }
    let (middle, height) = (f64::midpoint(left, right), f64::midpoint(bottom, top));
    let (x, y) = (super::escape(x.1), super::escape(y.1));
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x}</text>\
         <text class=\"axis\" transform=\"translate(14 {height:.1}) rotate(-90)\" \
         text-anchor=\"middle\">{y}</text>",
        bottom + 38.0
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[f64], zero: bool) -> Vec<String> {
        Axis::over(values, zero, (0.0, 1.0)).ticks().into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round_and_hold_everything() {
        assert_eq!(texts(&[0.3, 9.7], false), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(
            texts(&[-0.12, 0.31], true),
            ["-0.2", "-0.1", "0.0", "0.1", "0.2", "0.3", "0.4"]
        );
        assert_eq!(texts(&[5.0], true).first().map(String::as_str), Some("0"));
    }

    #[test]
    fn equal_absent_and_impossible_values_have_room() {
        let odd = [
            &[][..],
            &[3.0],
            &[0.0, 0.0],
            &[f64::NAN],
            &[f64::INFINITY],
            &[1e300, -1e300],
            &[1e-300],
        ];
        for values in odd {
            for zero in [false, true] {
                let axis = Axis::over(values, zero, (10.0, 20.0));
                let ticks = axis.ticks();
                assert!((2..=30).contains(&ticks.len()), "{values:?}: {ticks:?}");
                for v in values.iter().chain([&f64::NAN, &0.0]) {
                    assert!((10.0..=20.0).contains(&axis.at(*v)), "{values:?} {v}");
                }
            }
        }
    }
}
