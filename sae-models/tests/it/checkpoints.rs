//! Checkpoints: what is read, and how damage is named.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use sae_core::hook::Plan;
use sae_core::io::{Folder, write_tensors};
use sae_core::model::{Batch, HookedModel};
use sae_core::testing::Tolerance;
use sae_models::{Decoder, Processing};

const CONFIG: &str = r#"{"model_type":"gpt2","n_embd":8,"n_head":2,"n_layer":1,"n_positions":6,
    "vocab_size":11,"layer_norm_epsilon":1e-5,"activation_function":"gelu_new"}"#;

fn shapes() -> Vec<(String, Vec<usize>)> {
    [
        ("wte.weight", vec![11, 8]),
        ("wpe.weight", vec![6, 8]),
        ("h.0.ln_1.weight", vec![8]),
        ("h.0.ln_1.bias", vec![8]),
        ("h.0.attn.c_attn.weight", vec![8, 24]),
        ("h.0.attn.c_attn.bias", vec![24]),
        ("h.0.attn.c_proj.weight", vec![8, 8]),
        ("h.0.attn.c_proj.bias", vec![8]),
        ("h.0.ln_2.weight", vec![8]),
        ("h.0.ln_2.bias", vec![8]),
        ("h.0.mlp.c_fc.weight", vec![8, 32]),
        ("h.0.mlp.c_fc.bias", vec![32]),
        ("h.0.mlp.c_proj.weight", vec![32, 8]),
        ("h.0.mlp.c_proj.bias", vec![8]),
        ("ln_f.weight", vec![8]),
        ("ln_f.bias", vec![8]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape))
    .to_vec()
}

type Tensors = Vec<(String, Tensor)>;

fn tensors() -> Tensors {
    let random = |(name, shape): (String, Vec<usize>)| {
        (name, Tensor::randn(0f32, 0.5, shape, &Device::Cpu).unwrap())
    };
    shapes().into_iter().map(random).collect()
}

fn write(dir: &Path, file: &str, tensors: &Tensors) {
    write_tensors(&dir.join(file), tensors.iter().map(|(n, t)| (n.as_str(), t.clone()))).unwrap();
}

fn checkpoint(config: &str, tensors: &Tensors) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), config).unwrap();
    write(dir.path(), "model.safetensors", tensors);
    dir
}

fn logits(dir: &Path, processing: Processing) -> Tensor {
    let model = Decoder::load(&Folder::disk(dir), processing).unwrap();
    let run = model.run(&Batch::single(&[1, 2, 3]).unwrap(), &Plan::new()).unwrap();
    run.require_logits().unwrap().clone()
}

fn refused(dir: &Path, says: &[&str]) {
    let message = Decoder::load(&Folder::disk(dir), Processing::DEFAULT).unwrap_err().to_string();
    for text in says {
        assert!(message.contains(text), "{message:?} does not say {text:?}");
    }
}

#[test]
fn shards_prefixes_and_old_masks_give_the_same_model() {
    let all = tensors();
    let plain = logits(checkpoint(CONFIG, &all).path(), Processing::DEFAULT);
    let mut prefixed: Tensors =
        all.iter().map(|(n, t)| (format!("transformer.{n}"), t.clone())).collect();
    prefixed.push(("lm_head.weight".to_owned(), all[0].1.clone()));
    Tolerance::Bits.check(
        &logits(checkpoint(CONFIG, &prefixed).path(), Processing::DEFAULT),
        &plain,
        "prefixed",
    );
    let mut masked = all.clone();
    let mask = Tensor::ones((1, 1, 6, 6), DType::F32, &Device::Cpu).unwrap();
    masked.push(("h.0.attn.bias".to_owned(), mask));
    Tolerance::Bits.check(
        &logits(checkpoint(CONFIG, &masked).path(), Processing::DEFAULT),
        &plain,
        "masks",
    );

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    let mut map = serde_json::Map::new();
    for (i, part) in all.chunks(6).enumerate() {
        let file = format!("model-{i}.safetensors");
        write(dir.path(), &file, &part.to_vec());
        map.extend(part.iter().map(|(n, _)| (n.clone(), file.clone().into())));
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    Tolerance::Bits.check(&logits(dir.path(), Processing::DEFAULT), &plain, "shards");
}

#[test]
fn processing_keeps_probabilities() {
    let dir = checkpoint(CONFIG, &tensors());
    let probs = |processing| {
        let logits = logits(dir.path(), processing);
        candle_nn::ops::softmax(&logits, candle_core::D::Minus1).unwrap()
    };
    Tolerance::F32.check(&probs(Processing::DEFAULT), &probs(Processing::NONE), "probabilities");
}

#[test]
fn damage_is_named() {
    let all = tensors();
    let without: Tensors = all.iter().filter(|(n, _)| n != "ln_f.bias").cloned().collect();
    refused(
        checkpoint(CONFIG, &without).path(),
        &["no tensor `ln_f.bias`, expected [8]", "model.safetensors"],
    );
    let mut misshapen = all.clone();
    misshapen[4].1 = misshapen[4].1.t().unwrap();
    refused(
        checkpoint(CONFIG, &misshapen).path(),
        &["`h.0.attn.c_attn.weight` is [24, 8], expected [8, 24]"],
    );
    let mut odd = all.clone();
    odd.push(("h.1.ln_1.weight".to_owned(), all[2].1.clone()));
    refused(
        checkpoint(CONFIG, &odd).path(),
        &["`h.1.ln_1.weight` belongs to no part of the model"],
    );
    let dir = checkpoint(CONFIG, &all);
    let path = dir.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    refused(dir.path(), &["model.safetensors", "truncated"]);
    fs::remove_file(&path).unwrap();
    refused(dir.path(), &["no weights", "model.safetensors", "pytorch_model.bin"]);
}

#[test]
fn wrong_configurations_are_refused_by_field() {
    let all = tensors();
    for (from, to, says) in [
        ("\"n_embd\":8", "\"n_embd\":\"8\"", "`n_embd` is \"8\""),
        ("\"n_head\":2", "\"n_head\":3", "a divisor of the width 8"),
        ("\"n_layer\":1,", "", "`n_layer` is missing"),
        ("gelu_new", "mish", "`activation_function` is \"mish\""),
        ("\"gpt2\"", "\"mamba\"", "`mamba` is not supported, expected one of gpt2"),
        ("\"model_type\":\"gpt2\",", "", "`model_type` is missing"),
    ] {
        refused(checkpoint(&CONFIG.replace(from, to), &all).path(), &[says, "config.json"]);
    }
}

#[test]
fn an_index_that_leads_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    let index = r#"{"weight_map":{"wte.weight":"../secret.safetensors"}}"#;
    fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    refused(dir.path(), &["weight_map"]);
}

/// What `torch.save` writes of a state dictionary, as a zip archive of a pickle and its storages.
pub(crate) mod torch {
    use std::io::Write;
    use std::path::Path;

    use super::Tensors;

    fn text(pickle: &mut Vec<u8>, text: &str) {
        pickle.push(b'X');
        pickle.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        pickle.extend(text.as_bytes());
    }

    fn number(pickle: &mut Vec<u8>, n: usize) {
        pickle.push(b'J');
        pickle.extend(u32::try_from(n).unwrap().to_le_bytes());
    }

    pub(crate) fn save(path: &Path, tensors: &Tensors) {
        // PROTO 2, EMPTY_DICT, MARK
        let mut pickle = b"\x80\x02}(".to_vec();
        for (key, (name, tensor)) in tensors.iter().enumerate() {
            text(&mut pickle, name);
            pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            text(&mut pickle, "storage");
            pickle.extend(b"ctorch\nFloatStorage\n");
            text(&mut pickle, &key.to_string());
            text(&mut pickle, "cpu");
            number(&mut pickle, tensor.elem_count());
            // TUPLE, BINPERSID, then offset, shape, strides, requires_grad and hooks.
            pickle.extend(b"tQ");
            number(&mut pickle, 0);
            for axes in [tensor.dims().to_vec(), tensor.stride().to_vec()] {
                pickle.push(b'(');
                axes.iter().for_each(|n| number(&mut pickle, *n));
                pickle.push(b't');
            }
            pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        }
        // SETITEMS, STOP
        pickle.extend(b"u.");
        let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        let mut part = |name: &str, content: &[u8]| {
            zip.start_file(format!("archive/{name}"), stored).unwrap();
            zip.write_all(content).unwrap();
        };
        part("data.pkl", &pickle);
        for (key, (_, tensor)) in tensors.iter().enumerate() {
            let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            part(&format!("data/{key}"), &bytes);
        }
        part("version", b"3\n");
        zip.finish().unwrap();
    }
}

#[test]
fn files_of_torch_single_and_in_shards_give_the_same_model() {
    let all = tensors();
    let plain = logits(checkpoint(CONFIG, &all).path(), Processing::DEFAULT);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    torch::save(&dir.path().join("pytorch_model.bin"), &all);
    Tolerance::Bits.check(&logits(dir.path(), Processing::DEFAULT), &plain, "one file");
    fs::remove_file(dir.path().join("pytorch_model.bin")).unwrap();
    let mut map = serde_json::Map::new();
    for (i, part) in all.chunks(6).enumerate() {
        let file = format!("pytorch_model-{i}.bin");
        torch::save(&dir.path().join(&file), &part.to_vec());
        map.extend(part.iter().map(|(n, _)| (n.clone(), file.clone().into())));
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(dir.path().join("pytorch_model.bin.index.json"), index).unwrap();
    Tolerance::Bits.check(&logits(dir.path(), Processing::DEFAULT), &plain, "shards");

    let last = dir.path().join("pytorch_model-2.bin");
    let whole = fs::read(&last).unwrap();
    fs::write(&last, &whole[..whole.len() / 2]).unwrap();
    refused(dir.path(), &["pytorch_model-2.bin"]);
    fs::remove_file(last).unwrap();
    refused(dir.path(), &["pytorch_model-2.bin", "No such file"]);
}

#[test]
fn all_that_does_not_fit_is_named_at_once() {
    let mut some: Tensors = tensors();
    some.retain(|(n, _)| n != "ln_f.bias" && n != "h.0.mlp.c_fc.weight");
    some[4].1 = some[4].1.t().unwrap().contiguous().unwrap();
    some.push(("h.0.attn.extra".to_owned(), some[2].1.clone()));
    refused(
        checkpoint(CONFIG, &some).path(),
        &[
            "no tensor `h.0.mlp.c_fc.weight`, expected [8, 32]",
            "no tensor `ln_f.bias`, expected [8]",
            "`h.0.attn.c_attn.weight` is [24, 8], expected [8, 24]",
            "`h.0.attn.extra` belongs to no part of the model",
        ],
    );
    // A configuration of a far larger model costs no memory.
    let with_vocab = |n: u64| CONFIG.replace("\"vocab_size\":11", &format!("\"vocab_size\":{n}"));
    let huge = with_vocab(2_000_000_000);
    refused(checkpoint(&huge, &tensors()).path(), &["`wte.weight` is [11, 8]"]);
    let beyond = with_vocab(1_000_000_000_000);
    refused(checkpoint(&beyond, &tensors()).path(), &["`vocab_size`", "at most 2147483648"]);
}
