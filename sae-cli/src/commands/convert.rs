//! `sae convert`: an SAE of any known format as a SAELens folder of version 6.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use sae_registry::Converter;
use serde_json::{Map, Value, json};

use super::info;
use crate::published::{SaeName, Told};
use crate::show;

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The SAE: a folder or file of any known format, `RELEASE:ID`, a hub id with a path, or `demo`.
    pub(crate) source: String,
    /// The folder to write, which must not be there yet or be empty.
    pub(crate) output: PathBuf,
    /// The format, if the files do not tell: a `conversion_func` of SAELens, or `openai`.
    #[arg(long)]
    pub(crate) format: Option<Converter>,
    /// A field of the configuration that the files do not tell, such as `d_in=2304`; the value is JSON, or
    /// else a string.
    #[arg(long = "set", value_name = "FIELD=VALUE", value_parser = field)]
    pub(crate) fields: Vec<(String, Value)>,
    /// The factor by which activations were scaled in training, to be folded into the weights.
    #[arg(long)]
    pub(crate) norm_scaling_factor: Option<f64>,
}

/// `d_in=2304` -> the field and its value.
fn field(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected FIELD=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    Ok((name.to_owned(), value))
}

pub(crate) fn convert(args: &ConvertArgs, as_json: bool) -> Result<()> {
    let told = Told {
        format: args.format,
        fields: args.fields.iter().cloned().collect::<Map<_, _>>(),
        norm_scaling_factor: args.norm_scaling_factor,
    };
    refuse_what_is_there(&args.output)?;
    let loaded = SaeName::parse(&args.source)?.load(&told)?;
    write_folder(&args.output, |dir| {
        let sparsity = loaded.log_sparsity.as_ref();
        Ok(sae_core::sae_lens::save(dir, loaded.sae.as_ref(), sparsity)?)
    })?;
    show::caveat(loaded.sae.spec());
    let rows = info::rows(loaded.sae.spec());
    if as_json {
        let cfg: Map<String, Value> = rows.into_iter().collect();
        return show::json(&json!({ "output": args.output, "cfg": cfg }));
    }
    show::line(info::table(&rows))?;
    Ok(show::line(format!("written to {}", args.output.display()))?)
}

fn refuse_what_is_there(output: &Path) -> Result<()> {
    let shown = output.display();
    match fs::read_dir(output) {
        Ok(entries) => match entries.count() {
            0 => Ok(()),
            n => bail!("{shown}: holds {n} files; nothing is written over"),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e).with_context(|| shown.to_string()),
    }
}

/// Let `write` fill a folder beside `output`, which then takes that name: it is there whole or not at all.
fn write_folder(output: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let absolute = std::path::absolute(output)?;
    let parent = absolute.parent().context("the root is no folder to write")?;
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    let partial = tempfile::Builder::new().prefix(".convert-").tempdir_in(parent)?;
    let dir = partial.path().join("sae");
    fs::create_dir(&dir)?;
    write(&dir)?;
    // An empty folder of that name may be replaced; a full one keeps its place and this fails.
    let _ = fs::remove_dir(&absolute);
    fs::rename(&dir, &absolute).with_context(|| absolute.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_json_or_else_strings() {
        assert_eq!(field("d_in=2304"), Ok(("d_in".to_owned(), json!(2304))));
        assert_eq!(field("model_name=gpt2"), Ok(("model_name".to_owned(), json!("gpt2"))));
        assert_eq!(field("x=a=b"), Ok(("x".to_owned(), json!("a=b"))));
        assert!(field("d_in").is_err());
    }

    #[test]
    fn a_folder_that_failed_half_way_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("new");
        let failed = write_folder(&output, |to| {
            fs::write(to.join("half"), "x")?;
            bail!("no more")
        });
        assert!(failed.is_err() && fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
