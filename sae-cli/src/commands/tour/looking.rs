//! Stage 1 of the workshop: load a model and an SAE, splice it in, and look at what fires.

use anyhow::Result;
use sae_core::model::HookedModel;

use super::Tour;
use crate::commands::features::{self, Feature};
use crate::commands::run::{self, Compared};
use crate::commands::{PROMPT, info};
use crate::show;

pub(super) fn look(tour: &mut Tour<'_>, compared: &Compared, strongest: &[Feature]) -> Result<()> {
    let spec = tour.stage.model.spec();
    let facts = [
        ("layers", spec.n_layers.to_string()),
        ("width of the residual stream", spec.d_model.to_string()),
        ("attention heads", spec.n_heads.to_string()),
        ("tokens in the vocabulary", spec.d_vocab.to_string()),
        ("tokens per prompt at most", spec.n_ctx.to_string()),
    ];
    tour.step(
        "A model",
        "A small transformer of the GPT-2 family, trained on a public-domain English text. It is built \
         into this program, so nothing is downloaded, and it reports what it computes at every hook of \
         TransformerLens.",
    )?;
    let mut table = show::table(&["model", ""]);
    for (name, value) in &facts {
        table.add_row([*name, value]);
    }
    show::line(table)?;
    let rows: Vec<_> = facts.into_iter().map(|(n, v)| vec![n.into(), v.into()]).collect();
    tour.draw(|page| page.table(&["model", ""], &rows));

    tour.step(
        "A sparse autoencoder",
        "It reads the residual stream at one hook and rewrites it as a few active features out of many. \
         This is its configuration, as SAELens wrote it.",
    )?;
    let rows = info::rows(tour.stage.sae.sae.spec());
    show::line(info::table(&rows))?;
    let rows: Vec<_> =
        rows.into_iter().map(|(f, v)| vec![f.into(), info::text(&v).into()]).collect();
    tour.draw(|page| page.table(&["field", "value"], &rows));

    tour.step(
        "The model with the SAE spliced in",
        &format!(
            "The prompt is {PROMPT:?}. With the SAE in place of what it reads, the answer should stay \
             likely; with the SAE's error term added back, nothing at all may change."
        ),
    )?;
    show::line(compared.answers_table())?;
    show::line(compared.top_table())?;
    tour.draw(|page| run::figure(page, compared));

    tour.step(
        "What fires on the last word",
        "Each feature is a direction in the residual stream, and its activation says how far the stream \
         goes that way. The tokens beside it are those whose logits the direction raises most: a first \
         guess at what it means.",
    )?;
    show::line(features::table(strongest))?;
    tour.draw(|page| features::figure(page, strongest));
    Ok(())
}
