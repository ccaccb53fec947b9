//! The rules by which an output passes.

use anyhow::Result;
use candle_core::{DType, Tensor};
use serde_json::Value;

/// How far an output is from what is expected, in units of `max(1, max|want|)`, or why it cannot be
/// compared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Distance {
    /// The largest error.
    Error(f64),
    /// Another shape, another kind of value, NaN against a number.
    Apart(String),
}

impl Distance {
    /// Whether it is within `tol`.
    pub(crate) fn within(&self, tol: f64) -> bool {
        matches!(self, Self::Error(e) if *e <= tol)
    }

    /// For ordering: what cannot be compared is worst.
    pub(crate) fn size(&self) -> f64 {
        match self {
            Self::Error(e) => *e,
            Self::Apart(_) => f64::INFINITY,
        }
    }
}

/// `max |got - want| / max(1, max |want|)`; NaN must meet NaN, infinities must be equal.
pub(crate) fn tensors(got: &Tensor, want: &Tensor) -> Result<Distance> {
    if got.dims() != want.dims() {
        return Ok(Distance::Apart(format!("shape {:?}, expected {:?}", got.dims(), want.dims())));
    }
    let flat = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    Ok(numbers(&flat(got)?, &flat(want)?))
}

fn numbers(got: &[f64], want: &[f64]) -> Distance {
    let largest = want.iter().filter(|w| w.is_finite()).fold(1f64, |m, w| m.max(w.abs()));
    let mut worst = 0f64;
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        #[allow(clippy::float_cmp)] // infinities are equal or not
        let same = g == w || (g.is_nan() && w.is_nan());
        if same {
            continue;
        }
        if !g.is_finite() || !w.is_finite() {
            return Distance::Apart(format!("element {i} is {g}, expected {w}"));
        }
        worst = worst.max((g - w).abs() / largest);
    }
    Distance::Error(worst)
}

/// `{ "value": v, "tol": t }` compares numbers one by one, `|got - want| <= t max(1, |want|)`;
/// anything else must be equal, whatever the order of keys. The tolerance used comes back.
pub(crate) fn json(got: &Value, want: &Value) -> (Distance, f64) {
    if let (Some(value), Some(tol)) = (want.get("value"), want.get("tol").and_then(Value::as_f64)) {
        return (close(got, value), tol);
    }
    match (got, want) {
        (Value::Array(g), Value::Array(w)) if g.len() == w.len() => {
            worst(g.iter().zip(w).map(|(g, w)| json(g, w)))
        }
        (Value::Object(g), Value::Object(w)) if g.len() == w.len() => {
            let absent = Value::Null;
            worst(w.iter().map(|(key, w)| json(g.get(key).unwrap_or(&absent), w)))
        }
        _ => (exact(got, want), 0.0),
    }
}

fn exact(got: &Value, want: &Value) -> Distance {
    let same = match (got.as_f64(), want.as_f64()) {
        #[allow(clippy::float_cmp)] // exactness is the rule
        (Some(g), Some(w)) => g == w,
        _ => got == want,
    };
    if same {
        Distance::Error(0.0)
    } else {
        Distance::Apart(format!("{}, expected {}", short(got), short(want)))
    }
}

/// The entry that is furthest beyond its tolerance.
fn worst(all: impl Iterator<Item = (Distance, f64)>) -> (Distance, f64) {
    let beyond = |(d, tol): &(Distance, f64)| d.size() - tol;
    all.max_by(|a, b| beyond(a).total_cmp(&beyond(b))).unwrap_or((Distance::Error(0.0), 0.0))
}

fn close(got: &Value, want: &Value) -> Distance {
    match (got, want) {
        (Value::Array(g), Value::Array(w)) if g.len() == w.len() => {
            let all = g.iter().zip(w).map(|(g, w)| close(g, w));
            all.max_by(|a, b| a.size().total_cmp(&b.size())).unwrap_or(Distance::Error(0.0))
        }
        _ => match (got.as_f64(), want.as_f64()) {
            (Some(g), Some(w)) => Distance::Error((g - w).abs() / w.abs().max(1.0)),
            _ => exact(got, want),
        },
    }
}

fn short(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as j;

    #[test]
    fn the_error_is_relative_to_the_largest_expected_value_but_at_least_one() {
        assert_eq!(numbers(&[0.5], &[0.25]), Distance::Error(0.25));
        assert_eq!(numbers(&[100.0, 8.0], &[100.0, 10.0]), Distance::Error(0.02));
    }

    #[test]
    fn nan_meets_nan_and_infinities_are_equal() {
        let inf = f64::INFINITY;
        assert!(numbers(&[f64::NAN, inf, -inf], &[f64::NAN, inf, -inf]).within(0.0));
        assert!(!numbers(&[f64::NAN], &[0.0]).within(1e9));
        assert!(!numbers(&[inf], &[-inf]).within(1e9));
    }

    #[test]
    fn json_tolerances_count_where_they_are_given() {
        let want = j!({"a": {"value": [1.0, 200.0], "tol": 0.01}, "b": "x"});
        let check = |got: Value| {
            let (d, tol) = json(&got, &want);
            d.within(tol)
        };
        assert!(check(j!({"b": "x", "a": [1.0, 201.0]})));
        assert!(!check(j!({"b": "x", "a": [1.02, 200.0]})));
        assert!(!check(j!({"b": "y", "a": [1.0, 200.0]})));
        assert!(!check(j!({"b": "x", "a": [1.0]})));
    }
}
