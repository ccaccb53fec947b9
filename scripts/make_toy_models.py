"""Makes sae-models/tests/fixtures: TransformerLens' own small models, and what it computes with them.

Each folder holds a random model as TransformerLens publishes its own (`config.json` and
`model_final.pth`, its state dict) and `expected.safetensors`: logits and every hook, of the raw model
(`raw.*`) and as `from_pretrained` would process it (`processed.*`), and what its ActivationCache
derives from the processed run (`derived.*`). `expected.json` has the names of the hooks in order, and
the labels of what is derived.

usage: python make_toy_models.py
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformer_lens import HookedTransformer, HookedTransformerConfig

FOLDER = pathlib.Path(__file__).parents[1] / "sae-models/tests/fixtures"
TOKENS = torch.tensor([[1, 7, 2, 9, 4], [5, 3, 11, 8, 12]])
ANSWERS, WRONG = torch.tensor([6, 2]), torch.tensor([10, 3])

MODELS = {
    "solu-2l": dict(act_fn="solu_ln", attn_only=False, shortformer_pos=False),
    "gelu-2l": dict(act_fn="gelu", attn_only=False, shortformer_pos=False),
    "attn-only-2l": dict(act_fn="solu_ln", attn_only=True, shortformer_pos=False),
    "attn-only-2l-shortformer": dict(act_fn="solu_ln", attn_only=True, shortformer_pos=True),
}


def published(kind):
    """What `config.json` of such a model says."""
    return {
        "d_model": 8, "n_layers": 2, "d_mlp": 16, "d_head": 4, "n_heads": 2, "n_ctx": 12,
        "d_vocab": 14, "normalization": "LN", "tokenizer_name": "NeelNanda/gpt-neox-tokenizer-digits",
        **kind,
    }


def model_of(config, normalization):
    return HookedTransformer(HookedTransformerConfig(
        n_layers=config["n_layers"], d_model=config["d_model"], d_head=config["d_head"],
        n_heads=config["n_heads"], d_mlp=config["d_mlp"], n_ctx=config["n_ctx"],
        d_vocab=config["d_vocab"], act_fn=config["act_fn"], attn_only=config["attn_only"],
        normalization_type=normalization, device="cpu",
        positional_embedding_type="shortformer" if config["shortformer_pos"] else "standard",
    )).eval()


def random_state(model):
    """Gains near one and biases that are not zero."""
    state = {}
    for name, value in model.state_dict().items():
        if name.endswith((".mask", ".IGNORE")):
            state[name] = value
        elif name.split(".")[-1] == "w":
            state[name] = 1 + 0.3 * torch.randn_like(value)
        elif value.dim() == 1 or name.split(".")[-1].startswith("b"):
            state[name] = 0.3 * torch.randn_like(value)
        else:
            state[name] = 0.7 * torch.randn_like(value)
    return state


def derived(cache):
    """What the cache derives: tensors and labels."""
    tensors, labels = {}, {}

    def put(name, result):
        tensors[name], labels[name] = result[0].contiguous(), list(result[1])

    put("accumulated", cache.accumulated_resid(return_labels=True, incl_mid=not cache.model.cfg.attn_only))
    put("accumulated_ln_1", cache.accumulated_resid(1, apply_ln=True, return_labels=True))
    put("accumulated_ln", cache.accumulated_resid(apply_ln=True, return_labels=True))
    put("decomposed", cache.decompose_resid(return_labels=True))
    put("decomposed_attn_1", cache.decompose_resid(1, mode="attn", incl_embeds=False, apply_ln=True, return_labels=True))
    put("heads", cache.stack_head_results(incl_remainder=True, return_labels=True))
    put("heads_1_last", cache.stack_head_results(1, pos_slice=[-1], apply_ln=True, return_labels=True))
    put("full", cache.get_full_resid_decomposition(expand_neurons=False, return_labels=True))
    if not cache.model.cfg.attn_only:
        put("decomposed_mlp_input", cache.decompose_resid(1, mlp_input=True, apply_ln=True, return_labels=True))
        put("neurons", cache.stack_neuron_results(-1, incl_remainder=True, return_labels=True))
        put("full_neurons", cache.get_full_resid_decomposition(1, mlp_input=True, return_labels=True))
    stack = cache.decompose_resid()
    tensors["attrs"] = cache.logit_attrs(stack, 6)
    tensors["attrs_difference"] = cache.logit_attrs(
        cache.decompose_resid(pos_slice=-1), ANSWERS, WRONG, pos_slice=-1
    )
    return tensors, labels


def main():
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    for name, kind in MODELS.items():
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        config = published(kind)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        raw = model_of(config, "LN")
        state = random_state(raw)
        torch.save(state, folder / "model_final.pth")
        raw.load_state_dict(state)
        fold = not config["shortformer_pos"]
        processed = model_of(config, "LNPre" if fold else "LN")
        processed.load_and_process_state_dict(
            {k: v.clone() for k, v in state.items()},
            fold_ln=fold, center_writing_weights=fold, center_unembed=fold,
        )
        expected, names = {"tokens": TOKENS}, {}
        for which, model in [("raw", raw), ("processed", processed)]:
            logits, cache = model.run_with_cache(TOKENS)
            expected[f"{which}.logits"] = logits
            expected |= {f"{which}.{k}": v.clone(memory_format=torch.contiguous_format) for k, v in cache.items()}
            names[f"{which}.hooks"] = list(cache.keys())
        # A Shortformer adds no positions to its residual stream, though its cache lists them.
        if not config["shortformer_pos"]:
            tensors, labels = derived(cache)
            expected |= {f"derived.{k}": v.contiguous() for k, v in tensors.items()}
            names |= {f"derived.{k}": v for k, v in labels.items()}
        save_file(expected, folder / "expected.safetensors")
        (folder / "expected.json").write_text(json.dumps(names) + "\n")


if __name__ == "__main__":
    main()
