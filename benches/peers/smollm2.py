"""The peer's side of `smollm2-135m`: `transformers` on the same GGUF file, f32 and bf16, two threads.

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


if __name__ == "__main__":
    main()
