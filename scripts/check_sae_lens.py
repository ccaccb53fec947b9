"""Does SAELens read what was written here, with equal outputs?

Loads a SAELens folder with SAELens itself, runs it on rows of a cache of activations, and writes a parity
suite of one case from what SAELens computed. `cargo xtask parity OUT` then compares.

usage: python check_sae_lens.py SAE_FOLDER CACHE_FILE OUT
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import torch
from sae_lens import SAE
from safetensors.numpy import save_file

HEADER_BYTES = 4096
ROWS = 256


def main(folder, cache, out):
    sae = SAE.load_from_disk(folder, device="cpu")
    d_in = sae.cfg.d_in
    rows = np.fromfile(cache, dtype="<f4", count=ROWS * d_in, offset=HEADER_BYTES)
    x = torch.from_numpy(rows.reshape(ROWS, d_in))
    with torch.no_grad():
        acts = sae.encode(x)
        output = sae.decode(acts)
    out = pathlib.Path(out)
    case = out / "cases/sae-forward/written-here"
    case.mkdir(parents=True, exist_ok=True)
    (out / "saes").mkdir(exist_ok=True)
    target = out / "saes/written-here"
    target.mkdir(exist_ok=True)
    for name in ["cfg.json", "sae_weights.safetensors"]:
        shutil.copy(pathlib.Path(folder) / name, target / name)
    hook = sae.cfg.metadata.hook_name
    cfg = {"architecture": sae.cfg.architecture(), "d_in": d_in, "d_sae": sae.cfg.d_sae}
    (case / "case.json").write_text(json.dumps({
        "format": 1, "kind": "sae-forward", "case": "written-here",
        "saes": {hook: "saes/written-here"}, "params": {"dtype": "float32"},
        "expect": {"acts_post": {"tol": 1e-5}, "output": {"tol": 1e-5}},
        "expect_json": {"cfg": cfg},
    }))
    save_file(
        {"in.x": x.numpy(), "out.acts_post": acts.numpy(), "out.output": output.numpy()},
        case / "tensors.safetensors",
    )
    error = (x - output).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
    print(f"{folder}: {cfg}, explained variance by SAELens {1 - error.item():.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
