"""Compare logits and tokens of GGUF files with the `transformers` library reading the same files.

For each file: the logits of a few prompts at every position, ours (`cargo run --example logits`) beside those of
`AutoModelForCausalLM.from_pretrained(.., gguf_file=..)` in f32, on the token ids that we made; and the token ids of
many texts beside those of a reference tokenizer made from the same metadata: the `sentencepiece` library itself for
SentencePiece vocabularies, `tokenizers` with the published pre-tokenizer for byte-level ones. (The tokenizer that
`transformers` itself makes of these files is not the published one: it knows neither `tokenizer.ggml.pre` nor
SentencePiece's merges for Gemma.)

usage: python compare_transformers.py FILE.gguf ..        (those of fetch_models.py by default)
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import torch
import transformers
from gguf import GGUFReader
from safetensors.numpy import load_file

import fetch_models

ROOT = pathlib.Path(__file__).parents[1]
TOLERANCE = 1e-3
PROMPTS = {
    "france": "The capital of France is",
    "count": "One, two, three, four, five,",
    "code": "def fibonacci(n):\n    if n < 2:\n        return",
    "long": "In the beginning God created the heaven and the earth. " * 50,
}
TEXTS = [
    "Hello, world!",
    "  two spaces,   three,\ttab\n\n\nnewlines \n ",
    "It's 2024-07-03, 12345.678 + 0x1F = ?",
    "naïve café — “quotes” … €100",
    "日本語のテキスト 한국어 العربية עברית",
    "🦀🚀 👩‍👩‍👧 e\u0301 \u00a0nbsp",
    "<table><tr><td>1</td></tr></table>",
    "if (x != 0) { return y->z; } // 注释",
    "\u0000\u0001 control",
    "",
    " ",
    "a" * 300,
]


def ours(path):
    texts = {f"text{i}": text for i, text in enumerate(TEXTS)} | PROMPTS
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "logits.safetensors"
        cargo = ["cargo", "run", "--quiet", "-p", "sae-models", "--example", "logits", "--"]
        subprocess.run([*cargo, str(path), str(out)], input=json.dumps(texts).encode(), check=True, cwd=ROOT)
        return load_file(out)


def sentence_piece(field):
    from sentencepiece import SentencePieceProcessor
    from sentencepiece import sentencepiece_model_pb2 as proto

    model = proto.ModelProto()
    types = field("tokenizer.ggml.token_type")
    for token, score, kind in zip(field("tokenizer.ggml.tokens"), field("tokenizer.ggml.scores"), types):
        # llama.cpp's converter puts spaces into the pieces that are looked for before others.
        piece = token.replace(" ", "\u2581") if kind == 4 else token
        model.pieces.add(piece=piece, score=score, type=kind)
    model.trainer_spec.model_type = proto.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = 6 in types
    model.trainer_spec.treat_whitespace_as_suffix = False
    model.trainer_spec.unk_piece = field("tokenizer.ggml.tokens")[field("tokenizer.ggml.unknown_token_id")]
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = bool(field("tokenizer.ggml.add_space_prefix"))
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    processor = SentencePieceProcessor(model_proto=model.SerializeToString())
    return processor.encode


def byte_level(field):
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    tokens = field("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
    pre = field("tokenizer.ggml.pre")
    if pre != "smollm":
        sys.exit(f"no reference for the pre-tokenizer {pre}")
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    special = [token for token, kind in zip(tokens, field("tokenizer.ggml.token_type")) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def compare(path):
    got = ours(path)
    reader = GGUFReader(path)
    field = lambda name: reader.fields[name].contents()
    print(f"{path.name}: transformers {transformers.__version__}, torch {torch.__version__}")
    reference = (sentence_piece if field("tokenizer.ggml.model") == "llama" else byte_level)(field)
    bos = field("tokenizer.ggml.bos_token_id")
    texts = TEXTS + list(PROMPTS.values())
    names = [f"text{i}" for i in range(len(TEXTS))] + list(PROMPTS)
    wrong = []
    for name, text in zip(names, texts):
        ids = [int(i) for i in got[f"{name}.ids"]]
        if ids != [bos, *reference(text)]:
            wrong.append((text, ids, [bos, *reference(text)]))
    print(f"  tokens: {len(texts) - len(wrong)} of {len(texts)} texts equal")
    for text, ids, want in wrong:
        print(f"    {text!r}\n      ours      {ids}\n      reference {want}")
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    model.eval()
    worst = 0.0
    for name in PROMPTS:
        ids = torch.tensor(got[f"{name}.ids"]).long()[None]
        with torch.no_grad():
            want = model(ids).logits[0].numpy()
        have = got[f"{name}.logits"]
        absolute = float(np.abs(have - want).max())
        relative = float(np.linalg.norm(have - want) / np.linalg.norm(want))
        same = int((have.argmax(-1) == want.argmax(-1)).sum())
        worst = max(worst, relative)
        print(
            f"  {name}: {len(want)} positions, relative error {relative:.1e}, largest difference {absolute:.1e} "
            f"of {float(np.abs(want).max()):.0f}, likeliest token equal at {same}"
        )
    return not wrong and worst < TOLERANCE


def main():
    files = [pathlib.Path(arg) for arg in sys.argv[1:]]
    if not files:
        files = [fetch_models.models_dir() / model["file"] for model in fetch_models.MODELS.values()]
    torch.manual_seed(0)
    results = [compare(path.resolve()) for path in files]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
