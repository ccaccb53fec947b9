"""The peer's side of `sae-encode-*` and `sae-decode-*`: SAELens' own encode and decode, two threads.

The same sizes, row counts and sparsity as `sae-core/benches/sae.rs`, random weights, f32. Prints one line
per measurement: name, median in milliseconds, smallest and largest.

usage: python sae_ops.py [part of a name]
"""

import statistics
import sys
import time

import torch
from sae_lens.saes.abstopk_sae import AbsTopKSAE, AbsTopKSAEConfig
from sae_lens.saes.gated_sae import GatedSAE, GatedSAEConfig
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.matching_pursuit_sae import MatchingPursuitSAE, MatchingPursuitSAEConfig
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
from sae_lens.saes.temporal_sae import TemporalSAE, TemporalSAEConfig
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
from sae_lens.saes.transcoder import JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig

SIZES = [(768, 24576), (2304, 16384)]
ROWS = [1, 128, 4096]
L0 = 64
PURSUIT = 8


def measure(name, run):
    if len(sys.argv) > 1 and sys.argv[1] not in name:
        return
    run()
    times = []
    while len(times) < 5 or (sum(times) < 3000 and len(times) < 200):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    print(f"{name}: median {statistics.median(times):.3f} ms, {min(times):.3f} .. {max(times):.3f}", flush=True)


def fill(sae, d_in, bias):
    """Pre-activations near N(0, 1); biases or thresholds leave about L0 latents."""
    for name, weight in sae.named_parameters():
        if name == "threshold":
            weight.fill_(2.8)
        elif name in ("b_enc", "b_gate"):
            weight.normal_(bias, 0.01)
        elif weight.dim() == 1:
            weight.normal_(0, 0.01)
        else:
            weight.normal_(0, d_in**-0.5)
    return sae


def saes(d_in, d_sae):
    sizes = {"d_in": d_in, "d_sae": d_sae, "device": "cpu"}
    skip = JumpReLUSkipTranscoderConfig(d_out=d_in, apply_b_dec_to_input=False, **sizes)
    pursuit = MatchingPursuitSAEConfig(
        residual_threshold=0.0, max_iterations=PURSUIT, stop_on_duplicate_support=False, **sizes
    )
    yield "standard", lambda: StandardSAE(StandardSAEConfig(**sizes)), -2.8
    yield "gated", lambda: GatedSAE(GatedSAEConfig(**sizes)), -2.8
    yield "topk64", lambda: TopKSAE(TopKSAEConfig(k=L0, **sizes)), 0.0
    yield "topk64-rescaled", lambda: TopKSAE(TopKSAEConfig(k=L0, rescale_acts_by_decoder_norm=True, **sizes)), 0.0
    yield "abstopk64", lambda: AbsTopKSAE(AbsTopKSAEConfig(k=L0, **sizes)), 0.0
    yield "jumprelu", lambda: JumpReLUSAE(JumpReLUSAEConfig(**sizes)), 0.0
    yield "jumprelu-skip-transcoder", lambda: JumpReLUSkipTranscoder(skip), 0.0
    yield "matching-pursuit8", lambda: MatchingPursuitSAE(pursuit), 0.0


def codes(rows, d_sae):
    """L0 latents per row, spread over the dictionary."""
    acts = torch.zeros(rows, d_sae)
    index = (torch.arange(L0) * (d_sae // L0) + torch.arange(rows)[:, None] * 37) % d_sae
    return acts.scatter_(1, index, 0.5)


def sizes(d_in, d_sae):
    w = torch.randn(d_in, d_sae)
    for rows in ROWS:
        x = torch.randn(rows, d_in)
        measure(f"sae-encode-{d_in}x{d_sae}/floor/rows{rows}", lambda: x @ w)
    for name, make, bias in saes(d_in, d_sae):
        sae = fill(make(), d_in, bias)
        for rows in ROWS:
            x, acts = torch.randn(rows, d_in), codes(rows, d_sae)
            if name != "matching-pursuit8" or rows < 1000:
                measure(f"sae-encode-{d_in}x{d_sae}/{name}/rows{rows}", lambda: sae.encode(x))
            decode = sae.decode
            if name == "jumprelu-skip-transcoder":
                decode = lambda acts: sae.decode(acts) + x @ sae.W_skip.T  # as its forward does
            measure(f"sae-decode-{d_sae}x{d_in}-l0-{L0}/{name}/rows{rows}", lambda: decode(acts))
        del sae


def temporal(d_in, d_sae):
    config = TemporalSAEConfig(d_in=d_in, d_sae=d_sae, device="cpu", sae_diff_type="topk", kval_topk=L0)
    sae = fill(TemporalSAE(config), d_in, 0.0)
    for batch, pos in [(1, 1), (1, 128), (8, 512)]:
        x = torch.randn(batch, pos, d_in)
        measure(f"sae-encode-{d_in}x{d_sae}/temporal-topk64/rows{batch * pos}", lambda: sae.encode(x))


def main():
    torch.manual_seed(0)
    torch.set_num_threads(2)
    print("torch", torch.__version__, "threads", torch.get_num_threads())
    with torch.no_grad():
        for d_in, d_sae in SIZES:
            sizes(d_in, d_sae)
        temporal(768, 3072)


if __name__ == "__main__":
    main()
