//! The catalogue: ready to answer, one SAE found, all of them read.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use sae_registry::{Catalogue, Query};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn catalogue(c: &mut Criterion) {
    let known = Catalogue::embedded().expect("the catalogue");
    let saes: usize = known.releases().iter().map(|release| release.n_saes).sum();
    let mut group = c.benchmark_group("catalogue");
    group.bench_function(format!("ready/{saes}"), |b| b.iter(Catalogue::embedded));
    group.bench_function(format!("ready_and_find/{saes}"), |b| {
        b.iter(|| {
            let catalogue = Catalogue::embedded().expect("the catalogue");
            let found = catalogue.find("gpt2-small-res-jb", "blocks.8.hook_resid_pre");
            found.map(|sae| sae.entry.path).expect("an SAE")
        });
    });
    let mut query = Query::all();
    query.layer = Some(7);
    group.bench_function(format!("search/{saes}"), |b| b.iter(|| known.search(&query)));
    group.finish();
}

criterion_group!(benches, catalogue);
criterion_main!(benches);
