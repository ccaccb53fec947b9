"""Does SAELens read what `sae convert` makes of every published format, with equal outputs?

For each `sae-load` case of a parity suite: its folder is laid out as the repository it stands for,
`sae convert` writes it as a SAELens folder, SAELens itself loads that and runs on the case's input, and
latents and output are compared with the case's expected ones, which the format's own reference computed.

usage: python check_converted.py SAE_COMMAND SUITE [CASE...]
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from sae_lens import SAE

TOLERANCE = 2e-5


def convert(command, case, suite, scratch):
    """Lay the case's repository out under its own name, and convert the SAE in it."""
    params = case["params"]
    (folder,) = case["saes"].values()
    repo = scratch / params["repo_id"]
    shutil.copytree(suite / folder, repo)
    out = scratch / "converted"
    args = [command, "convert", str(repo / params["folder"]), str(out)]
    args += ["--format", params["converter"]]
    for key, value in params["cfg_overrides"].items():
        args += ["--set", f"{key}={json.dumps(value)}"]
    if params.get("norm_scaling_factor") is not None:
        args += ["--norm-scaling-factor", str(params["norm_scaling_factor"])]
    done = subprocess.run(args, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return out


def distance(got, want):
    if got.shape != want.shape:
        raise RuntimeError(f"shape {tuple(got.shape)}, expected {tuple(want.shape)}")
    return ((got - want).abs().max() / want.abs().max().clamp(min=1)).item()


def check(command, suite, path):
    case = json.loads((path / "case.json").read_text())
    if not case.get("saes"):
        return None
    tensors = load_file(path / "tensors.safetensors")
    with tempfile.TemporaryDirectory() as scratch:
        out = convert(command, case, suite, pathlib.Path(scratch))
        sae = SAE.load_from_disk(out, device="cpu")
    x = tensors["in.x"]
    with torch.no_grad():
        acts = sae.encode(x)
        errors = {
            "acts_post": distance(acts, tensors["out.acts_post"]),
            # Through the whole pass, so that skip paths and predictions count.
            "output": distance(sae(x), tensors["out.output"]),
        }
    return sae.cfg.architecture(), errors


def main(command, suite, *names):
    suite = pathlib.Path(suite)
    bad = 0
    for path in sorted((suite / "cases/sae-load").iterdir()):
        if names and path.name not in names:
            continue
        try:
            checked = check(command, suite, path)
        except Exception as problem:  # one case must not hide the others
            bad += 1
            print(f"FAIL {path.name}: {problem}")
            continue
        if checked is None:
            continue
        architecture, errors = checked
        passed = all(error <= TOLERANCE for error in errors.values())
        bad += not passed
        told = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        print(f"{'ok  ' if passed else 'FAIL'} {path.name} ({architecture}): {told}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
