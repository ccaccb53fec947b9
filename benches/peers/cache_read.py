"""The peer's side of `cache-read-768`: SAELens' ActivationsStore on a cached dataset, two threads.

Writes a dataset of cached activations as CacheActivationsRunner does (one row per prompt of 128 tokens,
768 numbers per token), and reads it through the store's mixing buffer in batches of 4096 tokens. The second
figure is without mixing, which reads in order. Prints the median of several passes, in rows per second.

usage: python cache_read.py [PROMPTS]
"""

import statistics
import sys
import tempfile
import time

import datasets
import numpy as np
import torch
import torchvision.io
from sae_lens.training.activations_store import ActivationsStore

# datasets asks for this class whenever it makes tensors; newer versions of torchvision do not have it.
if not hasattr(torchvision.io, "VideoReader"):
    torchvision.io.VideoReader = type("VideoReader", (), {})

HOOK, CONTEXT, D_IN, BATCH, PASSES = "blocks.7.hook_resid_pre", 128, 768, 4096, 5


def write(path, prompts):
    rng = np.random.default_rng(0)
    features = datasets.Features({
        HOOK: datasets.Array2D(shape=(CONTEXT, D_IN), dtype="float32"),
        "token_ids": datasets.Sequence(datasets.Value("int32"), length=CONTEXT),
    })
    part = 64
    parts = []
    for _ in range(prompts // part):
        acts = rng.standard_normal((part, CONTEXT, D_IN), dtype=np.float32)
        ids = np.zeros((part, CONTEXT), dtype=np.int32)
        parts.append(datasets.Dataset.from_dict({HOOK: acts, "token_ids": ids}, features=features))
    datasets.concatenate_datasets(parts).save_to_disk(path)


def store(path, mix):
    return ActivationsStore(
        model=None, dataset=None, streaming=False, hook_name=HOOK, hook_head_index=None,
        context_size=CONTEXT, d_in=D_IN, n_batches_in_buffer=64, total_training_tokens=10**9,
        store_batch_size_prompts=32, train_batch_size_tokens=BATCH, prepend_bos=True,
        normalize_activations="none", device=torch.device("cpu"), dtype="float32",
        cached_activations_path=path, activations_mixing_fraction=mix,
    )


def main(prompts):
    torch.set_grad_enabled(False)
    print("torch", torch.__version__, "threads", torch.get_num_threads())
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as path:
        write(path, prompts)
        for name, mix in [("mixed", 0.5), ("in order", 0.0)]:
            loader = store(path, mix).get_data_loader()
            next(loader)
            n_batches = prompts * CONTEXT // BATCH
            rates = []
            for _ in range(PASSES):
                start = time.perf_counter()
                for _ in range(n_batches):
                    batch = next(loader)
                    assert batch.shape == (BATCH, D_IN)
                rates.append(n_batches * BATCH / (time.perf_counter() - start))
            print(f"{name}: median {statistics.median(rates):,.0f} rows/s, "
                  f"{min(rates):,.0f} .. {max(rates):,.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 512)
