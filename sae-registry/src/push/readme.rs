//! The README.md that SAELens gives a repository.

/// The text, word by word that of SAELens' `_create_default_readme`.
pub(super) fn readme<'a>(repo_id: &str, ids: impl Iterator<Item = &'a str>) -> String {
    let list: String = ids.map(|id| format!("- {id}\n")).collect();
    format!(
        "---\nlibrary_name: saelens\n---\n\n# SAEs for use with the SAELens library\n\n\
         This repository contains the following SAEs:\n{list}\n\
         Load these SAEs using SAELens as below:\n```python\nfrom sae_lens import SAE\n\n\
         sae = SAE.from_pretrained(\"{repo_id}\", \"<sae_id>\")\n```"
    )
}
