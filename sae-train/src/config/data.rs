//! The part of a configuration that says which activations are wanted.

use serde_json::{Value, json};

use super::reader::Reader;

/// What stands between two documents in one prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// The tokenizer's BOS.
    Bos,
    /// Its EOS.
    Eos,
    /// This token.
    Token(u32),
    /// Nothing.
    None,
}

impl Separator {
    /// `sequence_separator_token`: `bos` (the default), `eos`, none, or an id.
    pub(super) fn read(run: &mut Reader<'_>) -> Self {
        let field = "sequence_separator_token";
        match run.raw(field) {
            None => Self::Bos,
            Some(Value::Null) => Self::None,
            Some(Value::String(name)) if name == "bos" => Self::Bos,
            Some(Value::String(name)) if name == "eos" => Self::Eos,
            Some(value) => {
                if let Some(id) = token(value) {
                    return Self::Token(id);
                }
                let want = "expected bos, eos, null or a token id";
                run.problem(field, format_args!("is {value}, {want}"));
                Self::Bos
            }
        }
    }

    pub(super) fn to_json(self) -> Value {
        match self {
            Self::Bos => json!("bos"),
            Self::Eos => json!("eos"),
            Self::Token(id) => json!(id),
            Self::None => Value::Null,
        }
    }
}

/// Tokens at which activations are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Exclude {
    /// None.
    #[default]
    Nothing,
    /// BOS, EOS and padding.
    Special,
    /// These.
    Tokens(Vec<u32>),
}

impl Exclude {
    /// `exclude_special_tokens`: false (the default), true, or a list of ids.
    pub(super) fn read(run: &mut Reader<'_>) -> Self {
        let field = "exclude_special_tokens";
        match run.get(field) {
            None | Some(Value::Bool(false)) => Self::Nothing,
            Some(Value::Bool(true)) => Self::Special,
            Some(value) => {
                let ids = value.as_array().and_then(|list| list.iter().map(token).collect());
                if let Some(ids) = ids {
                    return Self::Tokens(ids);
                }
                let want = "expected true, false or a list of token ids";
                run.problem(field, format_args!("is {value}, {want}"));
                Self::Nothing
            }
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Nothing => json!(false),
            Self::Special => json!(true),
            Self::Tokens(ids) => json!(ids),
        }
    }
}

fn token(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// The positions of each prompt that are wanted: the arguments of a Python slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqPos(pub Vec<Option<i64>>);

impl Default for SeqPos {
    fn default() -> Self {
        Self(vec![None])
    }
}

impl SeqPos {
    /// `seqpos_slice`: one to three numbers, each may be null.
    pub(super) fn read(run: &mut Reader<'_>) -> Self {
        let field = "seqpos_slice";
        let Some(value) = run.get(field) else { return Self::default() };
        let number = |v: &Value| if v.is_null() { Some(None) } else { v.as_i64().map(Some) };
        let list: Option<Vec<Option<i64>>> =
            value.as_array().and_then(|list| list.iter().map(number).collect());
        match list.filter(|list| (1..=3).contains(&list.len())) {
            // SAELens admits steps from 2 on; 1 says what null says.
            Some(list) if list.get(2).is_none_or(|step| step.is_none_or(|step| step > 0)) => {
                Self(list)
            }
            Some(_) => {
                run.problem(field, format_args!("is {value}, expected a step of 1 or more"));
                Self::default()
            }
            None => {
                let want = "expected a list of one to three whole numbers or nulls";
                run.problem(field, format_args!("is {value}, {want}"));
                Self::default()
            }
        }
    }

    /// Start, stop and step; one number alone is where to stop.
    pub fn bounds(&self) -> (Option<i64>, Option<i64>, Option<i64>) {
        match self.0[..] {
            [stop] => (None, stop, None),
            [start, stop] => (start, stop, None),
            [start, stop, step, ..] => (start, stop, step),
            [] => (None, None, None),
        }
    }

    /// How many of `n` positions are wanted.
    pub fn count(&self, n: usize) -> usize {
        let (start, stop, step) = self.bounds();
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        let place = |x: i64| if x < 0 { x + n } else { x }.clamp(0, n);
        let (start, stop) = (start.map_or(0, place), stop.map_or(n, place));
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(1);
        usize::try_from(stop - start).map_or(0, |len| len.div_ceil(step.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_count_as_in_python() {
        let count = |list: &[Option<i64>]| SeqPos(list.to_vec()).count(10);
        assert_eq!(count(&[None]), 10);
        assert_eq!(count(&[Some(4)]), 4);
        assert_eq!(count(&[Some(1), None]), 9);
        assert_eq!(count(&[Some(-3), None]), 3);
        assert_eq!(count(&[Some(1), Some(-1), Some(3)]), 3);
        assert_eq!(count(&[Some(8), Some(2)]), 0);
    }
}
