//! What names tell about an SAE: where in the model it reads and writes, and how wide it is.
//!
//! The rules are those of SAELens' converters (`loading/pretrained_sae_loaders.py`), as far as they go
//! by names. For Gemma Scope 2's transcoders the catalogue follows the hook that the published
//! configuration declares (`pre_feedforward_layernorm.output`, which is `mlp.hook_in`), not the name
//! that SAELens gives it (`hook_mlp_in`, before the norm).

use sae_core::hook::{HookName, Site};

use super::release::{Entry, Release};

/// SAELens' names of its converters, where names are read.
mod conversion {
    pub(super) const CONNOR_ROB: &str = "connor_rob_hook_z";
    pub(super) const GEMMA_2: &str = "gemma_2";
    pub(super) const GEMMA_2_TRANSCODER: &str = "gemma_2_transcoder";
    pub(super) const GEMMA_3: &str = "gemma_3";
    pub(super) const LLAMA_SCOPE: &str = "llama_scope";
    pub(super) const LLAMA_SCOPE_R1: &str = "llama_scope_r1_distill";
    pub(super) const MNTSS: &str = "mntss_clt_layer_transcoder";
    pub(super) const MWHANNA: &str = "mwhanna_transcoder";
}

/// Width of the residual stream of Llama 3.1 8B, of which Llama Scope's widths are multiples.
const LLAMA_D_MODEL: u64 = 4096;

/// Widths that no name tells: the first SAEs of GPT-2's residual stream (Bloom 2024).
const WIDTHS: [(&str, u64); 1] = [("gpt2-small-res-jb", 24576)];

/// Numbers in a path below this are layers or versions.
const NARROWEST: u64 = 256;

/// Where the SAE reads.
pub(super) fn hook(release: &Release, entry: &Entry) -> Option<HookName> {
    let (path, id) = (entry.path.as_str(), entry.id.as_str());
    let layer = || after(path, "layer_").or_else(|| after(id, "layer_"));
    let site = match release.conversion.as_deref() {
        Some(conversion::CONNOR_ROB) => {
            return Some(HookName::block(after(id, "blocks.")?, Site::Z));
        }
        Some(conversion::GEMMA_2) if path.contains("embedding") => return Some(HookName::EMBED),
        Some(conversion::GEMMA_2) => gemma_2_site(&release.repo_id)?,
        Some(conversion::GEMMA_2_TRANSCODER) => Site::Ln2Normalized,
        Some(conversion::GEMMA_3) => gemma_3_site(path)?,
        Some(conversion::MWHANNA | conversion::MNTSS) => Site::MlpHookIn,
        Some(conversion::LLAMA_SCOPE | conversion::LLAMA_SCOPE_R1) => {
            let (layer, letter) = llama_scope(path)?;
            let site = match letter {
                'R' => Site::ResidPost,
                'A' => Site::AttnOut,
                'M' => Site::MlpOut,
                _ => return None,
            };
            return Some(HookName::block(layer, site));
        }
        // `blocks.8.hook_resid_pre_768`, `blocks.3.hook_resid_post__trainer_0`; else `layer_50`,
        // `layer0`, `resid_post_layer_3_trainer_1`, all of the residual stream after a block.
        _ => {
            return leading(id).or_else(|| {
                let layer = layer().or_else(|| after(id, "layer"))?;
                Some(HookName::resid_post(layer))
            });
        }
    };
    Some(HookName::block(layer()?, site))
}

/// Where a transcoder writes.
pub(super) fn hook_out(release: &Release, entry: &Entry) -> Option<HookName> {
    let reads = hook(release, entry)?;
    let transcodes = match release.conversion.as_deref()? {
        conversion::GEMMA_2_TRANSCODER | conversion::MWHANNA | conversion::MNTSS => true,
        conversion::GEMMA_3 => {
            reads.layer().map(|layer| HookName::block(layer, Site::MlpHookIn)) == Some(reads)
        }
        _ => false,
    };
    let layer = reads.layer().filter(|_| transcodes)?;
    Some(HookName::block(layer, Site::MlpOut))
}

/// How many latents there are.
pub(super) fn width(release: &Release, entry: &Entry) -> Option<u64> {
    let (path, id) = (entry.path.as_str(), entry.id.as_str());
    if let Some((_, width)) = WIDTHS.iter().find(|(name, _)| *name == release.name) {
        return Some(*width);
    }
    if release.conversion.as_deref() == Some(conversion::LLAMA_SCOPE) {
        let expansion: u64 = after(path.rsplit_once('-')?.1, "")?;
        return Some(LLAMA_D_MODEL * expansion);
    }
    // `width_16k`, `v5_32k`, `W32K`, `w-32k`: k and M are powers of two.
    for (text, mark) in [
        (path, "width_"),
        (path, "v5_"),
        (release.repo_id.as_str(), "-W"),
        (release.repo_id.as_str(), "-w-"),
    ] {
        if let Some(width) = rest(text, mark).and_then(binary) {
            return Some(width);
        }
    }
    // `2pow14`; `ds24576`; `blocks.8.hook_resid_pre_768`; `res-16k__trainer_0` of Neuronpedia.
    if let Some(power) = after::<u32>(&release.name, "2pow") {
        return 1u64.checked_shl(power);
    }
    let written = after(path, "_ds").or_else(|| {
        let end = path.rsplit('_').find_map(|part| after::<u64>(part, ""));
        end.filter(|_| leading(id).is_some() && release.conversion.is_none())
    });
    written.filter(|width| *width >= NARROWEST).or_else(|| {
        let source = entry.neuronpedia_id.as_deref()?;
        let source = source.split_once("__").map_or(source, |(source, _)| source);
        binary(source.rsplit('-').next()?)
    })
}

/// The hook that `id` begins with; what follows it may begin with `_`.
fn leading(id: &str) -> Option<HookName> {
    let (layer, rest) = id.strip_prefix("blocks.")?.split_once('.')?;
    let begins = |site: &&Site| {
        rest.strip_prefix(site.as_str())
            .is_some_and(|tail| tail.is_empty() || tail.starts_with('_'))
    };
    let site = Site::ALL.iter().filter(begins).max_by_key(|site| site.as_str().len())?;
    Some(HookName::block(layer.parse().ok()?, *site))
}

/// Gemma Scope names the site in the repository: `gemma-scope-2b-pt-att`.
fn gemma_2_site(repo_id: &str) -> Option<Site> {
    [("res", Site::ResidPost), ("mlp", Site::MlpOut), ("att", Site::Z)]
        .into_iter()
        .find_map(|(part, site)| repo_id.contains(part).then_some(site))
}

/// Gemma Scope 2 names the site in the path.
fn gemma_3_site(path: &str) -> Option<Site> {
    let sites = [
        ("resid_post", Site::ResidPost),
        ("attn_out", Site::Z),
        ("mlp_out", Site::MlpOut),
        ("transcoder", Site::MlpHookIn),
        ("clt", Site::MlpHookIn),
    ];
    sites.into_iter().find_map(|(part, site)| path.contains(part).then_some(site))
}

/// `Llama3_1-8B-Base-L12R-8x` and `.../L12R`: the layer and the letter of the site.
fn llama_scope(path: &str) -> Option<(u16, char)> {
    let last = path.rsplit('/').next()?;
    let part = last.split('-').find(|part| {
        part.strip_prefix('L').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })?;
    Some((after(part, "L")?, part.chars().last()?))
}

/// What follows the first `mark` in `text`.
fn rest<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

/// The number that follows the first `mark` that a number follows.
fn after<T: std::str::FromStr>(text: &str, mark: &str) -> Option<T> {
    let digits = |rest: &str| rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let mut rest = text;
    if mark.is_empty() {
        return rest[..digits(rest)].parse().ok();
    }
    while let Some((_, tail)) = rest.split_once(mark) {
        if let Ok(number) = tail[..digits(tail)].parse() {
            return Some(number);
        }
        rest = tail;
    }
    None
}

/// The number of latents that `16384`, `16k` or `1m` stands for, as SAEs are named: k is 1024, m its
/// square; 65k, 131k, 262k and 524k are powers of two cut short.
#[must_use]
pub fn read_width(text: &str) -> Option<u64> {
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => {
            let end = text.find(|c: char| !c.is_ascii_digit())?;
            (text.len() == end + 1).then(|| binary(text))?
        }
    }
}

/// The same at the beginning of a text, with the letter.
fn binary(text: &str) -> Option<u64> {
    let number: u64 = after(text, "")?;
    let scale = text[number.to_string().len()..].chars().next()?.to_ascii_lowercase();
    match (number, scale) {
        (65, 'k') => Some(1 << 16),
        (131, 'k') => Some(1 << 17),
        (262, 'k') => Some(1 << 18),
        (524, 'k') => Some(1 << 19),
        (_, 'k') => Some(number * 1024),
        (_, 'm') => Some(number << 20),
        _ => None,
    }
}
