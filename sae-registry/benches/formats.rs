//! Loading an SAE of 2304 x 16384 (302 MB) from the formats it is published in.
//!
//! The file is written once and read warm; `floor` is reading its bytes into fresh memory.

#![allow(missing_docs, clippy::cast_possible_truncation)] // sizes of a bench fit

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sae_registry::{Converter, DirFetch, Options, load};
use serde_json::Map;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const D_IN: usize = 2304;
const D_SAE: usize = 16384;
const REPO: &str = "google/gemma-scope-2b-pt-res";
const PATH: &str = "layer_20/width_16k/average_l0_71";

/// The five arrays of Gemma Scope, as `numpy.savez` writes them.
fn write_npz(path: &Path) -> zip::result::ZipResult<()> {
    let mut zip = ZipWriter::new(BufWriter::new(File::create(path)?));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let shapes: [(&str, &[usize]); 5] = [
        ("W_enc", &[D_IN, D_SAE]),
        ("W_dec", &[D_SAE, D_IN]),
        ("b_enc", &[D_SAE]),
        ("b_dec", &[D_IN]),
        ("threshold", &[D_SAE]),
    ];
    for (name, shape) in shapes {
        zip.start_file(format!("{name}.npy"), stored)?;
        let axes: String = shape.iter().map(|n| format!("{n}, ")).collect();
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({axes}), }}\n");
        zip.write_all(b"\x93NUMPY\x01\0")?;
        zip.write_all(&(header.len() as u16).to_le_bytes())?;
        zip.write_all(header.as_bytes())?;
        let count: usize = shape.iter().product();
        let part: Vec<u8> = (0..D_SAE).flat_map(|i| (i as f32 * 1e-5).to_le_bytes()).collect();
        let mut left = count * 4;
        while left > 0 {
            let n = left.min(part.len());
            zip.write_all(&part[..n])?;
            left -= n;
        }
    }
    zip.finish()?.flush()?;
    Ok(())
}

fn formats(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder for the file");
    let folder = dir.path().join(REPO).join(PATH);
    std::fs::create_dir_all(&folder).expect("a folder for the file");
    let path = folder.join("params.npz");
    write_npz(&path).expect("the file");
    let bytes = std::fs::metadata(&path).expect("the file").len();
    let fetch = DirFetch::new(dir.path());

    let mut group = c.benchmark_group("load");
    group.sample_size(10).throughput(Throughput::Bytes(bytes));
    group.bench_function(format!("npz/{D_IN}x{D_SAE}"), |b| {
        b.iter(|| {
            load(&fetch, REPO, PATH, &Converter::Gemma2, &Map::new(), &Options::default())
                .map(|loaded| loaded.sae.spec().d_sae)
                .expect("an SAE")
        });
    });
    group.bench_function(format!("floor/{D_IN}x{D_SAE}"), |b| {
        b.iter(|| {
            let mut content = vec![0u8; bytes as usize];
            let mut file = File::open(&path).expect("the file");
            content.chunks_mut(1 << 20).try_for_each(|part| file.read_exact(part)).expect("bytes");
            content.len()
        });
    });
    group.finish();
}

criterion_group!(benches, formats);
criterion_main!(benches);
