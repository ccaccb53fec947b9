"""The peers' side of `smollm2-135m`: `transformers`, and TransformerLens on the same weights, from the same GGUF
file, f32 and bf16, two threads.

Prints one line per measurement: name, median in milliseconds, smallest and largest, tokens per second.

usage: python smollm2.py [FILE.gguf]        (where scripts/fetch_models.py puts it by default)
"""

import os
import pathlib
import statistics
import sys
import time

os.environ["TQDM_DISABLE"] = "1"

import torch
import transformers
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_llama_weights

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts"))
import fetch_models

CONTEXT = 128
NEW = 32


def measure(name, tokens, run, n=10):
    run()
    times = []
    for _ in range(n):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    median = statistics.median(times)
    print(f"{name}: median {median:.1f} ms, {min(times):.1f} .. {max(times):.1f}, {1e3 * tokens / median:.1f} tokens/s")
    return median


def in_transformer_lens(model):
    """The same weights in TransformerLens, which does not know the model's name."""
    old = model.config
    config = HookedTransformerConfig(
        d_model=old.hidden_size, d_head=old.head_dim, n_heads=old.num_attention_heads, n_layers=old.num_hidden_layers,
        n_key_value_heads=old.num_key_value_heads, d_mlp=old.intermediate_size, d_vocab=old.vocab_size, n_ctx=2048,
        act_fn="silu", normalization_type="RMS", final_rms=True, gated_mlp=True, eps=old.rms_norm_eps,
        positional_embedding_type="rotary", rotary_adjacent_pairs=False, rotary_dim=old.head_dim,
        rotary_base=int(old.rope_theta), dtype=model.dtype, default_prepend_bos=False,
    )
    lens = HookedTransformer(config).eval()
    lens.load_state_dict(convert_llama_weights(model, config), strict=False)
    assets = pathlib.Path(__file__).parents[2] / "sae-cli/assets/genesis-4l/model"
    lens.set_tokenizer(transformers.AutoTokenizer.from_pretrained(assets, local_files_only=True))
    return lens


def main():
    default = fetch_models.models_dir() / fetch_models.MODELS["smollm2"]["file"]
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    print("torch", torch.__version__, "transformers", transformers.__version__, "threads", torch.get_num_threads())

    def load(dtype):
        model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
        return model.eval()

    measure("load", 1, lambda: load(torch.float32), 3)
    for dtype in [torch.float32, torch.bfloat16]:
        model = load(dtype)
        name = str(dtype).removeprefix("torch.")
        row = lambda n: torch.tensor([[(p * 104729) % model.config.vocab_size for p in range(n)]])
        for pos in [128, 512]:
            ids = row(pos)
            measure(f"prefill/1x{pos}/{name}", pos, lambda: model(ids))
        ids = row(CONTEXT)
        whole = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 2}
        measure(f"generate/{NEW} tokens after {CONTEXT}/{name}", NEW, lambda: model.generate(ids, **whole), 3)
        # One step of decoding, the cache cut back to the prompt after each.
        cache = transformers.DynamicCache()
        model(ids, past_key_values=cache)
        next_id = row(1)

        def step():
            model(next_id, past_key_values=cache)
            cache.crop(CONTEXT)

        measure(f"decode/token after {CONTEXT}/{name}", 1, step, 20)
        lens = in_transformer_lens(model)
        print(f"TransformerLens' logits differ by {(lens(ids) - model(ids).logits).abs().max().item():.1e}")
        measure(f"TransformerLens: prefill/1x{CONTEXT}/{name}", CONTEXT, lambda: lens(ids))

        def generate(n_new):
            whole = {"max_new_tokens": n_new, "stop_at_eos": False, "do_sample": False, "verbose": False}
            return lens.generate(ids, return_type="tokens", **whole)

        few = measure(f"TransformerLens: generate/20 tokens after {CONTEXT}/{name}", 20, lambda: generate(20), 3)
        more = measure(f"TransformerLens: generate/60 tokens after {CONTEXT}/{name}", 60, lambda: generate(60), 3)
        # Without the prompt, which both have.
        token = (more - few) / 40
        print(f"TransformerLens: decode/token after {CONTEXT}/{name}: {token:.1f} ms, {1e3 / token:.1f} tokens/s")


if __name__ == "__main__":
    main()
