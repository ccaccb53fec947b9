//! `tokenizer`: TransformerLens' tokenizer calls.

use anyhow::{Context, Result, bail};
use sae_models::tokenizer::{Occurrence, PaddingSide, PrependBos, Tokenizer};
use serde_json::{Value, json};

use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let n_ctx = case.integer("n_ctx")?.context("no n_ctx")?;
    let default = case.param("default_prepend_bos").and_then(Value::as_bool).unwrap_or(true);
    let tokenizer =
        Tokenizer::load(&case.model()?, usize::try_from(n_ctx)?)?.with_default_prepend_bos(default);
    let calls = case.params["calls"].as_array().context("no calls")?;
    let mut results = Vec::with_capacity(calls.len());
    for call in calls {
        let op = call["op"].as_str().context("a call without op")?;
        // What must fail is written "error".
        results.push(answer(&tokenizer, op, &call["args"]).unwrap_or_else(|_| json!("error")));
    }
    let mut out = Outputs::default();
    out.put_json("results", results);
    Ok(out)
}

fn answer(t: &Tokenizer, op: &str, args: &Value) -> Result<Value> {
    let bos = PrependBos::from(args["prepend_bos"].as_bool());
    let side = match args["padding_side"].as_str() {
        Some("left") => PaddingSide::Left,
        _ => PaddingSide::Right,
    };
    Ok(match op {
        "to_tokens" => match &args["input"] {
            Value::String(text) if args["truncate"] == json!(false) => {
                json!([t.to_tokens_whole(text, bos)?])
            }
            Value::String(text) => json!([t.to_tokens(text, bos)?]),
            list => json!(t.to_tokens_batch(&texts(list)?, bos, side)?),
        },
        "to_str_tokens" => match (&args["input"], &args["tokens"]) {
            (Value::String(text), _) => json!(t.to_str_tokens(&t.to_tokens(text, bos)?)?),
            (Value::Array(_), _) => {
                let one = |text: &String| Ok(t.to_str_tokens(&t.to_tokens(text, bos)?)?);
                json!(texts(&args["input"])?.iter().map(one).collect::<Result<Vec<_>>>()?)
            }
            (_, tokens) => json!(t.to_str_tokens(&ids(tokens)?)?),
        },
        "to_string" => match args["tokens"].get(0) {
            Some(Value::Array(_)) => {
                let rows = rows(&args["tokens"])?;
                let one = |row: &Vec<u32>| Ok(t.to_string(row)?);
                json!(rows.iter().map(one).collect::<Result<Vec<_>>>()?)
            }
            _ => json!(t.to_string(&ids(&args["tokens"])?)?),
        },
        "to_single_token" => json!(t.to_single_token(text(&args["input"])?)?),
        "to_single_str_token" => json!(t.to_single_str_token(id(&args["token"])?)?),
        "get_token_position" => {
            let token = match &args["single_token"] {
                Value::String(text) => t.to_single_token(text)?,
                number => id(number)?,
            };
            let input = match &args["input"] {
                Value::String(text) => t.to_tokens(text, bos)?,
                _ => ids(&args["tokens"])?,
            };
            let which = match args["mode"].as_str() {
                Some("last") => Occurrence::Last,
                _ => Occurrence::First,
            };
            json!(t.get_token_position(token, &input, which)?)
        }
        "attention_mask" => json!(t.attention_mask(&rows(&args["tokens"])?, bos, side)),
        "settings" => {
            let s = t.special();
            json!({
                "bos": s.bos, "eos": s.eos, "pad": s.pad,
                "bos_id": s.bos_id, "eos_id": s.eos_id, "pad_id": s.pad_id,
                "tokenizer_prepends_bos": t.prepends_bos(), "d_vocab": t.d_vocab(),
            })
        }
        _ => bail!("op `{op}` is not built"),
    })
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("expected a text")
}

fn texts(value: &Value) -> Result<Vec<String>> {
    let list = value.as_array().context("expected texts")?;
    list.iter().map(|v| Ok(text(v)?.to_owned())).collect()
}

fn id(value: &Value) -> Result<u32> {
    Ok(u32::try_from(value.as_u64().context("expected a token")?)?)
}

fn ids(value: &Value) -> Result<Vec<u32>> {
    value.as_array().context("expected tokens")?.iter().map(id).collect()
}

fn rows(value: &Value) -> Result<Vec<Vec<u32>>> {
    match value.get(0) {
        Some(Value::Array(_)) => value.as_array().into_iter().flatten().map(ids).collect(),
        _ => Ok(vec![ids(value)?]),
    }
}
