//! Plots as SVG: bars beside labels, histograms, points, and lines. Each mark says its value under the
//! pointer.

use std::fmt::Write as _;

use super::axis::{Axis, frame};
use super::escape;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
/// Room at the left for numbers, at the bottom for numbers and a name, elsewhere for nothing.
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 48.0;
const EDGE: f64 = 14.0;
/// A bar with its label.
const BAR: f64 = 24.0;
const LABELS: f64 = 262.0;
/// Characters of a label that have room.
const LABEL_CHARS: usize = 40;
/// Room right of the bars, for their values.
const VALUES: f64 = 64.0;

/// What the axes of a plot are, with units where there are any.
#[derive(Clone, Copy, Debug)]
pub struct Axes<'a> {
    /// What is seen.
    pub caption: &'a str,
    /// Along.
    pub x: &'a str,
    /// Up.
    pub y: &'a str,
}

fn svg(caption: &str, height: f64, marks: &str) -> String {
    let caption = escape(caption);
    format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{caption}\">{marks}</svg>\
         <figcaption>{caption}</figcaption></figure>\n"
    )
}

fn across() -> (f64, f64) {
    (LEFT, WIDTH - EDGE)
}

fn upwards() -> (f64, f64) {
    (HEIGHT - BOTTOM, EDGE)
}

/// One bar below another, its label at the left and its value at its end.
pub(super) fn bars(caption: &str, x_name: &str, labels: &[String], values: &[f64]) -> String {
    let bottom = EDGE + BAR * values.len() as f64;
    let axis = Axis::over(values, true, (LABELS, WIDTH - VALUES));
    let mut marks = String::new();
    for (value, text) in axis.ticks() {
        let at = axis.at(value);
        // (Writing to a String cannot fail.)
        let _ = write!(
            marks,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{EDGE}\" y2=\"{bottom:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
            bottom + 16.0
        );
    }
    let zero = axis.at(0.0);
    for (i, (label, value)) in labels.iter().zip(values).enumerate() {
        let y = EDGE + BAR * i as f64;
        let end = axis.at(*value);
        let (left, wide) = (end.min(zero), (end - zero).abs().max(0.5));
        let class = if *value < 0.0 { "bar minus" } else { "bar" };
        let short = match label.chars().count() > LABEL_CHARS {
            true => label.chars().take(LABEL_CHARS - 1).chain(['…']).collect(),
            false => label.clone(),
        };
        let _ = write!(
            marks,
            "<g class=\"mark\"><title>{}</title>\
             <text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" rx=\"2\"/>\
             <text class=\"label\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            escape(&format!("{label}: {value:.4}")),
            LABELS - 10.0,
            y + BAR * 0.66,
            escape(&short),
            y + 3.0,
            BAR - 6.0,
            left + wide + 5.0,
            y + BAR * 0.66,
            number(*value),
        );
    }
    let _ = write!(
        marks,
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(LABELS, WIDTH - VALUES),
        bottom + 36.0,
        escape(x_name)
    );
    svg(caption, bottom + BOTTOM, &marks)
}

/// Counts in equal bins over `low` to `high`.
pub(super) fn histogram(axes: Axes<'_>, (low, high): (f64, f64), counts: &[u64]) -> String {
    let values: Vec<f64> = counts.iter().map(|c| *c as f64).collect();
    let x = Axis::over(&[low, high], false, across());
    let y = Axis::over(&values, true, upwards());
    let mut marks = frame((&x, axes.x), (&y, axes.y));
    let wide = (high - low) / counts.len().max(1) as f64;
    for (i, count) in counts.iter().enumerate().filter(|(_, c)| **c > 0) {
        let (from, to) = (low + wide * i as f64, low + wide * (i + 1) as f64);
        let top = y.at(*count as f64);
        let _ = write!(
            marks,
            "<rect class=\"bar mark\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>{from:.3} to {to:.3}: {count}</title></rect>",
            x.at(from) + 0.5,
            (x.at(to) - x.at(from) - 1.0).max(0.5),
            (y.at(0.0) - top).max(0.5),
        );
    }
    svg(axes.caption, HEIGHT, &marks)
}

/// Points with labels.
pub(super) fn scatter(axes: Axes<'_>, labels: &[String], points: &[(f64, f64)]) -> String {
    let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let x = Axis::over(&xs, false, across());
    let y = Axis::over(&ys, false, upwards());
    let mut marks = frame((&x, axes.x), (&y, axes.y));
    for (label, (a, b)) in labels.iter().zip(points) {
        let _ = write!(
            marks,
            "<circle class=\"dot mark\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{}</title></circle>",
            x.at(*a),
            y.at(*b),
            escape(&format!("{label} ({a:.3}, {b:.3})"))
        );
    }
    svg(axes.caption, HEIGHT, &marks)
}

/// A line through points, from left to right; the vertical axis begins at zero.
pub(super) fn line(axes: Axes<'_>, points: &[(f64, f64)]) -> String {
    let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let x = Axis::over(&xs, false, across());
    let y = Axis::over(&ys, true, upwards());
    let mut marks = frame((&x, axes.x), (&y, axes.y));
    let path: Vec<String> =
        points.iter().map(|(a, b)| format!("{:.1},{:.1}", x.at(*a), y.at(*b))).collect();
    let _ = write!(marks, "<polyline class=\"curve\" points=\"{}\"/>", path.join(" "));
    for (a, b) in points {
        let _ = write!(
            marks,
            "<circle class=\"dot mark\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}</title></circle>",
            x.at(*a),
            y.at(*b),
            escape(&format!("{a}: {b:.4}"))
        );
    }
    svg(axes.caption, HEIGHT, &marks)
}

/// A value beside a bar: three or four digits.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.01 || v == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}
