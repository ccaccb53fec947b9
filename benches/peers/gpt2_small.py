"""The peers' side of `cargo bench`: TransformerLens and torch on the shape of GPT-2 small.

Random weights, 12 layers, d_model 768, vocabulary 50257, f32, two threads. Prints one line per
measurement: name, median in milliseconds, smallest and largest.

usage: python gpt2_small.py
"""

import pathlib
import statistics
import time

import torch
from transformers import AutoTokenizer
from transformer_lens import HookedTransformer, HookedTransformerConfig


def measure(name, run, n):
    run()
    times = []
    for _ in range(n):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    median = statistics.median(times)
    print(f"{name}: median {median:.1f} ms, {min(times):.1f} .. {max(times):.1f}")
    return median


def main():
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    print("torch", torch.__version__, "threads", torch.get_num_threads())
    config = HookedTransformerConfig(
        n_layers=12, d_model=768, n_ctx=1024, d_head=64, n_heads=12, d_mlp=3072, d_vocab=50257,
        act_fn="gelu_new", normalization_type="LNPre", device="cpu",
    )
    model = HookedTransformer(config)
    model.eval()
    # generate wants a tokenizer, though token ids go in and come out; any will do.
    assets = pathlib.Path(__file__).parents[2] / "sae-cli/assets/genesis-4l/model"
    model.set_tokenizer(AutoTokenizer.from_pretrained(assets, local_files_only=True))
    for batch, pos in [(1, 16), (1, 128), (1, 512), (8, 128)]:
        tokens = torch.randint(0, 50257, (batch, pos))
        measure(f"forward/{batch}x{pos}", lambda: model(tokens), 5)
    tokens = torch.randint(0, 50257, (1, 128))
    measure("run_with_cache/1x128", lambda: model.run_with_cache(tokens), 5)
    def generate(n_new):
        return model.generate(
            tokens, max_new_tokens=n_new, stop_at_eos=False, do_sample=False, verbose=False,
            return_type="tokens",
        )

    few = measure("generate/20 tokens after 128", lambda: generate(20), 3)
    more = measure("generate/60 tokens after 128", lambda: generate(60), 3)
    # Without the prompt, which both have.
    print(f"decode/token after 128: {(more - few) / 40:.1f} ms, {40e3 / (more - few):.1f} tokens/s")
    model.to(torch.bfloat16)
    few = measure("generate/bf16, 20 tokens after 128", lambda: generate(20), 3)
    more = measure("generate/bf16, 60 tokens after 128", lambda: generate(60), 3)
    print(f"decode/bf16, token after 128: {(more - few) / 40:.1f} ms")
    x = torch.randn(4096, 768)
    w_enc, b_enc = torch.randn(768, 24576), torch.randn(24576)
    w_dec, b_dec = torch.randn(24576, 768), torch.randn(768)
    measure("sae-encode/4096 rows", lambda: torch.relu((x - b_dec) @ w_enc + b_enc), 5)
    measure("sae-encode matmul/4096 rows", lambda: x @ w_enc, 5)
    acts = torch.zeros(4096, 24576)
    acts.scatter_(1, torch.randint(0, 24576, (4096, 64)), 0.5)
    measure("sae-decode/4096 rows", lambda: acts @ w_dec + b_dec, 5)


if __name__ == "__main__":
    main()
