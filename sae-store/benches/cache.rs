//! Reading a memory-mapped cache: globally shuffled and in order, in batches as training takes them.

#![allow(missing_docs, clippy::expect_used, clippy::cast_precision_loss)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sae_core::hook::HookName;
use sae_core::source::ActivationSource;
use sae_store::{CacheInfo, CacheWriter, Cached, Order};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIDTH: usize = 768;
/// As many as the peer's dataset has: 512 prompts of 128 tokens, 200 MB.
const ROWS: usize = 65_536;
const BATCH: usize = 4096;

fn written(path: &std::path::Path) {
    let info = CacheInfo {
        hook: HookName::resid_pre(7),
        width: WIDTH,
        context_size: 128,
        model: "bench".to_owned(),
        dataset: "bench".to_owned(),
    };
    let mut writer = CacheWriter::open(path, info).expect("a new cache");
    for part in 0..ROWS / BATCH {
        let number = |i: usize| ((part * BATCH * WIDTH + i) % 8191) as f32;
        let values: Vec<f32> = (0..BATCH * WIDTH).map(number).collect();
        writer.append(&values).expect("room on the disk");
    }
    writer.finish().expect("a name for the cache");
}

fn read(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("acts");
    written(&path);
    let mut group = c.benchmark_group("cache-read-768");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, order) in [("shuffled", Order::Shuffled { seed: 1 }), ("in-order", Order::Written)] {
        let mut cached = Cached::open(&path, order).expect("the cache");
        group.bench_function(format!("{name}/b{BATCH}of{ROWS}"), |b| {
            b.iter(|| match cached.next(BATCH) {
                // In order the rows come once.
                Ok(None) => cached.seek(Default::default()).map(|()| None),
                other => other,
            });
        });
    }
    // What reading cannot be faster than: copying as many bytes from memory.
    let from = vec![1f32; ROWS * WIDTH];
    let mut at = 0;
    for name in ["shuffled-floor", "in-order-floor"] {
        group.bench_function(format!("{name}/b{BATCH}of{ROWS}"), |b| {
            b.iter(|| {
                at = (at + BATCH * WIDTH) % from.len();
                from[at..at + BATCH * WIDTH].to_vec()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
