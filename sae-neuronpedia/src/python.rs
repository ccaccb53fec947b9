//! Text exactly as Python's `json.dumps` and `urllib.parse.quote` write it, and JSON as Python reads it.

use std::io::{self, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// What `urllib.parse.quote` escapes; the slash is left alone.
const QUOTE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// `urllib.parse.quote(text)`.
pub(crate) fn quote(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, QUOTE)
}

/// `json.dumps(value)`: a space after each comma and colon, and nothing but ASCII.
pub(crate) fn json_dumps(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut text, Dumps))?;
    Ok(text.into_iter().map(char::from).collect())
}

/// A number as the workshop writes it: whole ones without a point.
#[allow(clippy::cast_possible_truncation)] // whole, and small enough
pub(crate) fn number(value: f64) -> Value {
    const EXACT: f64 = (1u64 << f64::MANTISSA_DIGITS) as f64;
    if value.fract() == 0.0 && value.abs() < EXACT { (value as i64).into() } else { value.into() }
}

/// JSON with what Python's `json.loads` takes besides made into JSON: `NaN` and the infinities become the
/// numbers that SAELens puts in their place, and halves of surrogate pairs that stand alone (from tokens
/// that are parts of a character) become U+FFFD.
pub(crate) fn strict(text: &str) -> String {
    const CONSTANTS: [(&str, &str); 3] =
        [("NaN", "0.0"), ("-Infinity", "-9999.0"), ("Infinity", "9999.0")];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut inside = false;
    while let Some(c) = rest.chars().next() {
        let constant = CONSTANTS.iter().find(|(name, _)| !inside && rest.starts_with(name));
        if let Some((name, number)) = constant {
            out.push_str(number);
            rest = &rest[name.len()..];
        } else if let ('\\', true) = (c, inside) {
            let (escape, taken) = escape(rest);
            out.push_str(escape);
            rest = &rest[taken..];
        } else {
            inside ^= c == '"';
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// The escape at the beginning of `text`, and how many of its bytes it stands for.
fn escape(text: &str) -> (&str, usize) {
    /// Bytes of `\uXXXX`.
    const UNIT: usize = 6;
    let unit = |at: usize| -> Option<u16> {
        let digits = text.get(at..at + UNIT)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    match (unit(0), unit(UNIT)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (&text[..2 * UNIT], 2 * UNIT),
        (Some(0xd800..=0xdfff), _) => ("\\ufffd", UNIT),
        (Some(_), _) => (&text[..UNIT], UNIT),
        // The backslash and what it escapes, whatever that is.
        (None, _) => {
            let taken = text.chars().take(2).map(char::len_utf8).sum();
            (&text[..taken], taken)
        }
    }
}

/// The layout of `json.dumps` with its default arguments.
struct Dumps;

impl Formatter for Dumps {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        // Both print the shortest digits that read back; Python has its own rule for the exponent.
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        match exponent.parse::<i32>() {
            Ok(exponent) if !(-4..16).contains(&exponent) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                write!(out, "{digits}e{sign}{:02}", exponent.unsigned_abs())
            }
            _ => write!(out, "{value:?}"),
        }
    }

    /// `fragment` has no quote, backslash or control character below U+0020.
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut units = [0; 2];
        for c in fragment.chars() {
            if matches!(c, ' '..='~') {
                write!(out, "{c}")?;
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                write!(out, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        // From `json.dumps` of CPython 3.11.
        let values = [1e-5, 1e16, 123_456_789_012_345_680.0, 0.1, 1.5e-7, -2.0, 1e22, 1e-4, 1e15];
        let text = "[1e-05, 1e+16, 1.2345678901234568e+17, 0.1, 1.5e-07, -2.0, 1e+22, 0.0001, \
                    1000000000000000.0]";
        assert_eq!(json_dumps(&values).unwrap(), text);
        assert_eq!(json_dumps(&[number(4.0), number(-0.5)]).unwrap(), "[4, -0.5]");
    }

    #[test]
    fn what_python_reads_is_read() {
        for (python, json) in [
            (r#"{"a":NaN,"b":[-Infinity, Infinity]}"#, r#"{"a":0.0,"b":[-9999.0, 9999.0]}"#),
            (r#"["NaN \" Infinity", NaN]"#, r#"["NaN \" Infinity", 0.0]"#),
            (
                r#"["\ud83d", "\ud83d\ude00", "\ude00\u0041"]"#,
                r#"["\ufffd", "\ud83d\ude00", "\ufffd\u0041"]"#,
            ),
            (r#"["\\", NaN]"#, r#"["\\", 0.0]"#),
        ] {
            assert_eq!(strict(python), json);
            assert!(serde_json::from_str::<Value>(json).is_ok(), "{json}");
        }
        // Cut off anywhere, it ends.
        for cut in 0..=6 {
            strict(&r#""\ud83d"#[..=cut]);
        }
    }
}

#[cfg(test)]
mod prop {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn json_stays_what_it_is(text in any::<String>(), x in any::<f64>()) {
            let json = serde_json::json!({ text.as_str(): [x, 1, null, text] }).to_string();
            prop_assert_eq!(strict(&json), json);
        }
    }
}
