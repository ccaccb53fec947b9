//! Rewrites SAELens' `pretrained_saes.yaml` as the text that is built into the library.
//!
//! `cargo run -p sae-registry --example catalogue -- pretrained_saes.yaml > sae-registry/data/catalogue.txt`,
//! or `cargo xtask catalogue`, which also writes the checksums.

use std::path::Path;

use sae_registry::Catalogue;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which file? pretrained_saes.yaml of sae-lens")?;
    let catalogue = Catalogue::read(Path::new(&path))?;
    let saes: usize = catalogue.releases().iter().map(|release| release.n_saes).sum();
    eprintln!("{} releases, {saes} SAEs", catalogue.releases().len());
    #[allow(clippy::print_stdout)] // the purpose of this program
    {
        print!("{}", catalogue.to_text()?);
    }
    Ok(())
}
