//! Loading, and running on weights of four and of two bytes: a checkpoint of the shape of GPT-2 small, and
//! SmolLM2-135M where `scripts/fetch_models.py` has put it (`benches/peers/smollm2.py` is the peer).

#![allow(missing_docs, clippy::cast_possible_truncation)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use sae_core::hook::{Logits, Plan};
use sae_core::io::{Folder, TensorFile, WeightDtype, write_tensors};
use sae_core::model::{Batch, HookedModel};
use sae_models::{Decoder, Keep, KvCache, LoadOptions, Processing};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const CONTEXT: usize = 128;

/// 124 million random parameters under GPT-2's names.
fn write_gpt2(dir: &Path) {
    let (d, m, v, ctx, layers) = (768, 3072, 50_257, 1024, 12);
    let config = format!(
        r#"{{"model_type":"gpt2","n_embd":{d},"n_head":12,"n_layer":{layers},"n_positions":{ctx},"vocab_size":{v}}}"#
    );
    std::fs::write(dir.join("config.json"), config).expect("a configuration");
    let mut tensors = Vec::new();
    let mut put = |name: String, shape: &[usize]| {
        tensors.push((name, Tensor::randn(0f32, 0.02, shape, &Device::Cpu).expect("a tensor")));
    };
    put("wte.weight".to_owned(), &[v, d]);
    put("wpe.weight".to_owned(), &[ctx, d]);
    for l in 0..layers {
        let maps = [("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d), ("mlp.c_fc", d, m)];
        for (name, d_in, d_out) in maps.into_iter().chain([("mlp.c_proj", m, d)]) {
            put(format!("h.{l}.{name}.weight"), &[d_in, d_out]);
            put(format!("h.{l}.{name}.bias"), &[d_out]);
        }
        for name in ["ln_1", "ln_2"] {
            put(format!("h.{l}.{name}.weight"), &[d]);
            put(format!("h.{l}.{name}.bias"), &[d]);
        }
    }
    put("ln_f.weight".to_owned(), &[d]);
    put("ln_f.bias".to_owned(), &[d]);
    write_tensors(&dir.join("model.safetensors"), tensors).expect("weights");
}

/// The model in `dir` as llama.cpp's converter writes it, matrices in blocks of eight bits.
fn write_gpt2_gguf(dir: &Path) -> PathBuf {
    let text = |name: &str| Value::String(name.to_owned());
    let mut metadata = vec![("general.architecture", text("gpt2"))];
    for (key, n) in [
        ("gpt2.embedding_length", 768),
        ("gpt2.attention.head_count", 12),
        ("gpt2.block_count", 12),
        ("gpt2.feed_forward_length", 3072),
        ("gpt2.context_length", 1024),
    ] {
        metadata.push((key, Value::U32(n)));
    }
    metadata.push(("gpt2.attention.layer_norm_epsilon", Value::F32(1e-5)));
    let mut file = TensorFile::open(&dir.join("model.safetensors")).expect("weights");
    let mut tensors = Vec::new();
    for published in file.names() {
        let mut name = published.replace("h.", "blk.");
        for (theirs, ours) in [
            ("wte", "token_embd"),
            ("wpe", "position_embd"),
            ("ln_f", "output_norm"),
            ("attn.c_attn", "attn_qkv"),
            ("attn.c_proj", "attn_output"),
            ("mlp.c_fc", "ffn_up"),
            ("mlp.c_proj", "ffn_down"),
            ("ln_1", "attn_norm"),
            ("ln_2", "ffn_norm"),
        ] {
            name = name.replace(theirs, ours);
        }
        let mut tensor = file.tensor(&published).expect("a tensor");
        if published.contains(".c_") && tensor.rank() == 2 {
            tensor = tensor.t().and_then(|t| t.contiguous()).expect("a matrix");
        }
        let blocks = if tensor.rank() == 2 { GgmlDType::Q8_0 } else { GgmlDType::F32 };
        tensors.push((name, QTensor::quantize(&tensor, blocks).expect("blocks")));
    }
    let path = dir.join("gpt2-q8_0.gguf");
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = std::fs::File::create(&path).expect("a file");
    gguf_file::write(&mut file, &metadata, &tensors).expect("a GGUF file");
    path
}

fn load(path: &Path, processing: Processing, weights: impl Into<Keep>) -> Decoder {
    let weights = weights.into();
    Decoder::load_with(&Folder::disk(path), LoadOptions { processing, weights }).expect("a model")
}

fn loading(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    write_gpt2(dir.path());
    let mut group = c.benchmark_group("load-gpt2-small");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    // The floor: the same bytes, read and no more.
    group.bench_function("read-548MB", |b| {
        b.iter(|| black_box(std::fs::read(dir.path().join("model.safetensors")).expect("a file")));
    });
    for (what, processing) in
        [("as-published", Processing::NONE), ("processed", Processing::DEFAULT)]
    {
        for weights in [WeightDtype::F32, WeightDtype::F16] {
            group.bench_function(format!("{what}/{weights:?}"), |b| {
                b.iter(|| black_box(load(dir.path(), processing, weights)));
            });
        }
    }
    group.finish();
    let mut group = c.benchmark_group("gpt2-small-weights");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for weights in WeightDtype::ALL {
        let model = load(dir.path(), Processing::DEFAULT, weights);
        decoding(&mut group, &model, &name(weights.into()));
    }
    let model = load(&write_gpt2_gguf(dir.path()), Processing::DEFAULT, Keep::Stored);
    decoding(&mut group, &model, "stored-Q8_0");
    group.finish();
}

fn name(weights: Keep) -> String {
    match weights {
        Keep::As(dtype) => format!("{dtype:?}"),
        Keep::Stored => "stored".to_owned(),
    }
}

/// One more token after a prompt.
fn decoding(group: &mut BenchmarkGroup<'_, WallTime>, model: &Decoder, weights: &str) {
    let d_vocab = model.spec().d_vocab;
    let mut past = KvCache::new(model.spec());
    let plan = Plan::new().logits(Logits::Last);
    model.run_with_past(&batch(CONTEXT, d_vocab), &mut past, &plan).expect("a prompt");
    let next = batch(1, d_vocab);
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("decode/token-after-{CONTEXT}/{weights}"), |b| {
        b.iter_batched(
            || past.fork().expect("a copy"),
            |mut past| black_box(model.run_with_past(&next, &mut past, &plan).expect("a run")),
            BatchSize::SmallInput,
        );
    });
}

/// Where `fetch_models.py` puts files.
fn smollm2() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = || var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    let dir = var("SAE_MODELS_DIR").or_else(|| Some(cache()?.join("sae-rs/models")))?;
    let path = dir.join(SMOLLM2);
    if !path.is_file() {
        eprintln!("NOT RUN: {} is not there; see scripts/fetch_models.py", path.display());
        return None;
    }
    Some(path)
}

fn batch(pos: usize, d_vocab: usize) -> Batch {
    let row: Vec<u32> = (0..pos).map(|p| ((p * 104_729) % d_vocab) as u32).collect();
    Batch::single(&row).expect("a row")
}

fn running(c: &mut Criterion) {
    let Some(path) = smollm2() else { return };
    let mut group = c.benchmark_group("smollm2-135m");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    for weights in [Keep::default(), Keep::Stored] {
        group.bench_function(format!("load/gguf-q4_1/{}", name(weights)), |b| {
            b.iter(|| black_box(load(&path, Processing::NONE, weights)));
        });
    }
    for weights in WeightDtype::ALL.map(Keep::from).into_iter().chain([Keep::Stored]) {
        let model = load(&path, Processing::NONE, weights);
        let weights = name(weights);
        let d_vocab = model.spec().d_vocab;
        for pos in [128, 512] {
            let batch = batch(pos, d_vocab);
            group.throughput(Throughput::Elements(pos as u64));
            group.bench_function(format!("prefill/1x{pos}/{weights}"), |b| {
                b.iter(|| black_box(model.run(&batch, &Plan::new()).expect("a run")));
            });
        }
        decoding(&mut group, &model, &weights);
    }
    group.finish();
}

criterion_group!(benches, loading, running);
criterion_main!(benches);
