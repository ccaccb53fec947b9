//! Text exactly as Python's `json.dumps` and `urllib.parse.quote` write it.

use std::io::{self, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Serialize;
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
