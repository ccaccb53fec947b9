//! `sae push`: SAEs published on the hub, in SAELens' layout.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sae_registry::{Commit, Content, Push};
use serde_json::{Value, json};

use crate::{progress, show};

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// An SAE's folder, or one with SAEs' folders in it.
    pub(crate) folder: PathBuf,
    /// The repository, `owner/name`; it is made if it does not exist.
    pub(crate) repo: String,
    /// The id of the one SAE in the folder, if not the folder's name.
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// The branch.
    #[arg(long, default_value = "main")]
    pub(crate) revision: String,
    /// Make a private repository.
    #[arg(long)]
    pub(crate) private: bool,
    /// Write no README.md.
    #[arg(long)]
    pub(crate) no_readme: bool,
    /// Say what would be sent, and send nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

pub(crate) fn push(args: &PushArgs, as_json: bool) -> Result<()> {
    let push = Push::new(&args.repo)
        .revision(&args.revision)
        .private(args.private)
        .readme(!args.no_readme);
    let push = match &args.id {
        Some(id) => push.sae(id, &args.folder),
        None => push.saes_below(&args.folder)?,
    };
    if args.dry_run {
        return planned(&push.commits()?, as_json);
    }
    let made = push.send(&progress::hub("sending"))?;
    if as_json {
        let commits = made.iter().map(|c| json!({ "message": c.message, "url": c.url }));
        return show::json(&commits.collect::<Vec<_>>());
    }
    for commit in made {
        show::line(format!("{}: {}", commit.message, commit.url))?;
    }
    Ok(())
}

fn planned(commits: &[Commit], as_json: bool) -> Result<()> {
    if as_json {
        return show::json(&commits.iter().map(commit_json).collect::<Vec<_>>());
    }
    let mut table = show::table(&["commit", "file", "bytes", "from"]);
    for commit in commits {
        for file in &commit.files {
            let from = match &file.content {
                Content::File(path) => path.display().to_string(),
                _ => "made here".to_owned(),
            };
            let (message, bytes) = (commit.message.clone(), file.size_bytes.to_string());
            table.add_row([message, file.path.clone(), bytes, from]);
        }
    }
    show::line(table)?;
    for commit in commits.iter().filter(|commit| commit.if_absent) {
        show::line(format!("\"{}\" only if the repository has none.", commit.message))?;
        for file in &commit.files {
            if let Content::Text(text) = &file.content {
                show::line(format!("\n{text}"))?;
            }
        }
    }
    Ok(())
}

fn commit_json(commit: &Commit) -> Value {
    let files = commit.files.iter().map(|file| {
        let mut value = json!({ "path": file.path, "bytes": file.size_bytes });
        match &file.content {
            Content::File(path) => value["from"] = json!(path),
            Content::Text(text) => value["content"] = json!(text),
            _ => {}
        }
        value
    });
    let files: Vec<Value> = files.collect();
    json!({ "message": commit.message, "files": files, "if_absent": commit.if_absent })
}
