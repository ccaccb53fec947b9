//! The header of one numpy array: number type, order and shape, as a Python dictionary in ASCII.
//!
//! Format: `numpy/lib/format.py`, versions 1.0 to 3.0.

use std::io::Read;

use crate::io::element::Element;
use crate::io::problem::{Outcome, Problem, within};

/// Longest header that is read.
const MAX_HEADER_BYTES: u64 = 1 << 16;
const MAGIC: &[u8] = b"\x93NUMPY";

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) element: Element,
    /// The first axis is the innermost.
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
    /// Where the numbers begin, from the start of the array's file.
    pub(super) bytes: u64,
}

impl Header {
    /// Read a header, and no further.
    ///
    /// # Errors
    /// Not a numpy array, or one of a type that is not read.
    pub(super) fn read(reader: &mut dyn Read) -> Outcome<Self> {
        let mut start = [0u8; 8];
        reader.read_exact(&mut start)?;
        if !start.starts_with(MAGIC) {
            return Err(Problem::bad("not a numpy array"));
        }
        let (width, mut size) = (if start[6] == 1 { 2 } else { 4 }, [0u8; 4]);
        if !(1..=3).contains(&start[6]) {
            return Err(Problem::bad(format!("numpy format {}, expected 1 to 3", start[6])));
        }
        reader.read_exact(&mut size[..width])?;
        let size = u32::from_le_bytes(size);
        within("bytes of a numpy header", u64::from(size), MAX_HEADER_BYTES)?;
        let mut text = vec![0u8; size as usize];
        reader.read_exact(&mut text)?;
        let text =
            std::str::from_utf8(&text).map_err(|_| Problem::bad("a header that is no text"))?;
        let bytes = (8 + width) as u64 + u64::from(size);
        parse(text)
            .map(|(element, fortran_order, shape)| Self { element, fortran_order, shape, bytes })
            .map_err(|what| Problem::bad(format!("numpy header {:?}: {what}", text.trim_end())))
    }
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (16, 48), }`
fn parse(text: &str) -> Result<(Element, bool, Vec<usize>), String> {
    let inner = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    let mut rest = inner.ok_or("not a dictionary")?.trim_start();
    let (mut element, mut order, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or("a key that is not quoted")?;
        let value = after.trim_start().strip_prefix(':').ok_or("a key without a value")?;
        let value = value.trim_start();
        rest = match key {
            "descr" => {
                let (descr, after) = quoted(value).ok_or("records are not read")?;
                element = Some(number_type(descr)?);
                after
            }
            "fortran_order" => {
                let (is, after) = ["True", "False"]
                    .iter()
                    .find_map(|word| Some((*word == "True", value.strip_prefix(word)?)))
                    .ok_or("`fortran_order` is neither True nor False")?;
                order = Some(is);
                after
            }
            "shape" => {
                let (inner, after) = value
                    .strip_prefix('(')
                    .and_then(|t| t.split_once(')'))
                    .ok_or("`shape` is not a tuple")?;
                let axes = inner.split(',').map(str::trim).filter(|axis| !axis.is_empty());
                // Python 2 wrote long integers with an L.
                let axes = axes.map(|axis| axis.trim_end_matches('L').parse());
                shape = Some(axes.collect::<Result<_, _>>().map_err(|_| "a shape of no numbers")?);
                after
            }
            other => return Err(format!("unknown key `{other}`")),
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Ok((
        element.ok_or("no `descr`")?,
        order.ok_or("no `fortran_order`")?,
        shape.ok_or("no `shape`")?,
    ))
}

/// A quoted text, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

fn number_type(descr: &str) -> Result<Element, String> {
    Ok(match descr {
        "<f8" => Element::F64,
        "<f4" => Element::F32,
        "<f2" => Element::F16,
        "<i8" => Element::I64,
        "<i4" => Element::I32,
        "<i2" => Element::I16,
        "|i1" => Element::I8,
        "|u1" => Element::U8,
        "|b1" => Element::Bool,
        "|O" => return Err("holds Python objects, which are not read".to_owned()),
        other => {
            return Err(format!(
                "numbers of type `{other}`, expected <f8, <f4, <f2, <i8, <i4, <i2, |i1, |u1 or |b1"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_are_read_as_python_writes_them() {
        let read = |text: &str| parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let matrix = "{'descr': '<f4', 'fortran_order': False, 'shape': (16, 48), }   \n";
        assert_eq!(read(matrix), (Element::F32, false, vec![16, 48]));
        let vector = "{\"shape\": (3L,), \"fortran_order\": True, \"descr\": \"<f2\"}";
        assert_eq!(read(vector), (Element::F16, true, vec![3]));
        assert!(read("{'descr': '<i8', 'fortran_order': False, 'shape': ()}").2.is_empty());
    }

    #[test]
    fn what_is_not_read_is_named() {
        let refused = |text: &str, says: &str| {
            let message = parse(text).unwrap_err();
            assert!(message.contains(says), "{message:?} does not say {says:?}");
        };
        refused("{'descr': '|O', 'fortran_order': False, 'shape': ()}", "Python objects");
        refused("{'descr': '>f4', 'fortran_order': False, 'shape': ()}", ">f4");
        refused("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}", "records");
        refused("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "no numbers");
        refused("{'descr': '<f4', 'fortran_order': 1, 'shape': ()}", "fortran_order");
        refused("{'descr': '<f4', 'shape': ()}", "no `fortran_order`");
        refused("{'x': 1}", "unknown key `x`");
        refused("[]", "not a dictionary");
    }
}
