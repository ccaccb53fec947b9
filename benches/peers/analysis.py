"""The peer's side of `gpt2-small-analysis`: the workshop's functions on SAELens, two threads.

A random model of the shape of GPT-2 small and a random standard SAE of 24576 features at
blocks.7.hook_resid_pre. `find_max_activation` and `calculate_feature_attribution` are what the workshop's
notebook does. Prints medians.

usage: python analysis.py
"""

import statistics
import time

import torch
from sae_lens import StandardSAE, StandardSAEConfig
from transformer_lens import HookedTransformer, HookedTransformerConfig

HOOK, LAYER, D_SAE, FEATURE = "blocks.7.hook_resid_pre", 7, 24576, 1234


def measure(name, run, n):
    run()
    times = []
    for _ in range(n):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    print(f"{name}: median {statistics.median(times):.1f} ms, {min(times):.1f} .. {max(times):.1f}")


def find_max_activation(model, sae, batches, feature):
    largest = 0.0
    with torch.no_grad():
        for tokens in batches:
            _, cache = model.run_with_cache(tokens, stop_at_layer=LAYER + 1, names_filter=[HOOK])
            acts = sae.encode(cache[HOOK]).squeeze().flatten(0, 1)
            largest = max(largest, acts[:, feature].max().item())
    return largest


def max_activation_of_rows(sae, batches, feature):
    with torch.no_grad():
        return max(sae.encode(x)[:, feature].max().item() for x in batches)


def calculate_feature_attribution(model, sae, tokens, pos_token, neg_token):
    kept = {}

    def replace(x, hook):
        acts = sae.encode(x)
        acts.retain_grad()
        out = sae.decode(acts)
        error = (x - out).detach()
        kept["acts"] = acts
        return out + error

    def metric(logits):
        return logits[0, -1, pos_token] - logits[0, -1, neg_token]

    with model.hooks(fwd_hooks=[(HOOK, replace)]):
        value = metric(model(tokens, return_type="logits"))
        model.zero_grad()
        sae.zero_grad()
        value.backward()
    return kept["acts"].grad * kept["acts"]


def main():
    torch.manual_seed(0)
    print("torch", torch.__version__, "threads", torch.get_num_threads())
    model = HookedTransformer(HookedTransformerConfig(
        n_layers=12, d_model=768, n_ctx=1024, d_head=64, n_heads=12, d_mlp=3072, d_vocab=50257,
        act_fn="gelu_new", normalization_type="LNPre", device="cpu",
    ))
    model.eval()
    sae = StandardSAE(StandardSAEConfig(d_in=768, d_sae=D_SAE, device="cpu"))
    with torch.no_grad():
        sae.W_enc.normal_(std=768**-0.5)
        sae.W_dec.normal_(std=0.1)
        # About 60 of 24576 features fire.
        sae.b_enc.fill_(-2.8)
    batches = [torch.randint(0, 50257, (8, 128)) for _ in range(2)]
    measure("find_max_activation/2x8x128", lambda: find_max_activation(model, sae, batches, FEATURE), 5)
    rows = [torch.randn(4096, 768) for _ in range(4)]
    measure("max_activation_of_rows/16384", lambda: max_activation_of_rows(sae, rows, FEATURE), 5)
    tokens = torch.randint(0, 50257, (1, 16))
    measure("attribution/1x16", lambda: calculate_feature_attribution(model, sae, tokens, 5, 6), 7)


if __name__ == "__main__":
    main()
