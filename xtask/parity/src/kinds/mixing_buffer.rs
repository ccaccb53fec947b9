//! `mixing-buffer`: what is served after which chunk.

use anyhow::{Context, Result, ensure};
use sae_store::{MixOptions, Mixer};
use serde_json::Value;

use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let size = |name: &str| -> Result<usize> {
        Ok(usize::try_from(case.integer(name)?.with_context(|| format!("no {name}"))?)?)
    };
    let options = MixOptions {
        buffer_size: size("buffer_size")?,
        batch_size: size("batch_size")?,
        mix_fraction: case.params["mix_fraction"].as_f64().context("no mix_fraction")?,
        seed: 0,
    };
    let chunks = case.params["chunks"].as_array().context("no chunks")?;
    let mut mixer = Mixer::new(options)?;
    let (mut arrived, mut order, mut counts) = (0u64, Vec::<u64>::new(), Vec::new());
    let mut serve = |mixer: &mut Mixer<u64>, arrived: u64| -> Result<usize> {
        let before = order.len();
        while let Some(row) = mixer.pop() {
            ensure!(row < arrived, "row {row} was served before it arrived");
            ensure!(!order.contains(&row), "row {row} was served twice");
            order.push(row);
        }
        Ok((order.len() - before) / options.batch_size)
    };
    for chunk in chunks {
        let n = chunk.as_u64().context("a chunk that is no number")?;
        mixer.push(arrived..arrived + n);
        arrived += n;
        counts.push(serve(&mut mixer, arrived)?);
    }
    mixer.finish();
    let at_end = serve(&mut mixer, arrived)?;
    let mut out = Outputs::default();
    out.put_json("batches_after_chunk", counts);
    out.put_json("batches_at_end", at_end);
    out.put_json("rows_served", order.len());
    out.put_json("rows_dropped", mixer.len());
    let batches: Vec<Value> = order.chunks(options.batch_size).map(|b| b.to_vec().into()).collect();
    out.put_json("order", batches);
    Ok(out)
}
