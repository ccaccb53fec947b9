//! Loading holds the weights once.

use sae_core::io::{Folder, write_tensors};
use sae_models::{Decoder, Processing};

use candle_core::{Device, Tensor};

/// Peak resident size of this process so far, in bytes.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Only the child process measures: what other tests allocate does not count there.
#[cfg(target_os = "linux")]
#[test]
fn loading_peaks_at_little_more_than_the_file() {
    const CHILD: &str = "SAE_MEASURE_LOADING";
    const NAME: &str = "memory::loading_peaks_at_little_more_than_the_file";
    if let Some(dir) = std::env::var_os(CHILD) {
        let before = peak();
        let model =
            Decoder::load(&Folder::disk(std::path::PathBuf::from(dir)), Processing::DEFAULT)
                .unwrap();
        let grown = peak() - before;
        println!("grown {grown}");
        drop(model);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (d, v, ctx, layers) = (256usize, 20_000usize, 64usize, 8usize);
    let config = format!(
        r#"{{"model_type":"gpt2","n_embd":{d},"n_head":4,"n_layer":{layers},"n_positions":{ctx},"vocab_size":{v}}}"#
    );
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let zeros =
        |shape: &[usize]| Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let mut tensors = vec![
        ("wte.weight".to_owned(), zeros(&[v, d])),
        ("wpe.weight".to_owned(), zeros(&[ctx, d])),
        ("ln_f.weight".to_owned(), zeros(&[d])),
        ("ln_f.bias".to_owned(), zeros(&[d])),
    ];
    for l in 0..layers {
        let shapes: [(&str, &[usize]); 12] = [
            ("ln_1.weight", &[d]),
            ("ln_1.bias", &[d]),
            ("attn.c_attn.weight", &[d, 3 * d]),
            ("attn.c_attn.bias", &[3 * d]),
            ("attn.c_proj.weight", &[d, d]),
            ("attn.c_proj.bias", &[d]),
            ("ln_2.weight", &[d]),
            ("ln_2.bias", &[d]),
            ("mlp.c_fc.weight", &[d, 4 * d]),
            ("mlp.c_fc.bias", &[4 * d]),
            ("mlp.c_proj.weight", &[4 * d, d]),
            ("mlp.c_proj.bias", &[d]),
        ];
        tensors.extend(shapes.map(|(name, shape)| (format!("h.{l}.{name}"), zeros(shape))));
    }
    let path = dir.path().join("model.safetensors");
    write_tensors(&path, tensors.iter().map(|(n, t)| (n.as_str(), t.clone()))).unwrap();
    let file = std::fs::metadata(&path).unwrap().len();
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let grown = text.split("grown ").nth(1).unwrap_or_else(|| panic!("{text}"));
    let grown: u64 = grown.split_whitespace().next().unwrap().parse().unwrap();
    #[allow(clippy::cast_precision_loss)]
    let ratio = grown as f64 / file as f64;
    assert!(ratio < 1.2, "loading grew by {ratio:.2} of the file");
}
