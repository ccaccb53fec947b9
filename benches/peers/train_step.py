"""The peer's side of `train-step-768x12288`: SAELens' own trainer, one step, two threads.

usage: python train_step.py            the times of every architecture
       python train_step.py memory     the peak memory of one step of TopK, in a process of its own
"""

import resource
import statistics
import sys
import time

import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedTrainingSAE,
    GatedTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer

D_IN, D_SAE, BATCH = 768, 12288, 4096
BIAS = -2.58 * 0.1


def trainer(sae):
    config = SAETrainerConfig(
        total_training_samples=10**9,
        device="cpu",
        autocast=False,
        lr=1e-9,
        lr_end=1e-9,
        lr_scheduler_name="constant",
        lr_warm_up_steps=0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_decay_steps=0,
        n_restart_cycles=1,
        train_batch_size_samples=BATCH,
        dead_feature_window=10**6,
        feature_sampling_window=10**6,
        logger=type("NoLog", (), {"log_to_wandb": False, "wandb_log_frequency": 10**9})(),
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
    )
    return SAETrainer(cfg=config, sae=sae, data_provider=iter([]))


def memory():
    """Peak of the whole process: weights, moments, one batch, one step."""
    torch.manual_seed(0)
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(k=32, d_in=D_IN, d_sae=D_SAE, device="cpu"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = trainer(sae)
    run._train_step(sae=sae, sae_in=torch.randn(BATCH, D_IN))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"topk32/b4096: peak {after // 1024} MiB, of which {before // 1024} MiB before the step")


def main():
    torch.manual_seed(0)
    print("torch", torch.__version__, "threads", torch.get_num_threads())
    x = (torch.rand(BATCH, D_IN) * 2 - 1) * 3**0.5
    common = {"d_in": D_IN, "d_sae": D_SAE, "device": "cpu"}
    saes = {
        "topk32": TopKTrainingSAE(TopKTrainingSAEConfig(k=32, **common)),
        "batchtopk32": BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(k=32, **common)),
        "matryoshka32": MatryoshkaBatchTopKTrainingSAE(
            MatryoshkaBatchTopKTrainingSAEConfig(k=32, matryoshka_widths=[768, 3072, D_SAE], **common)
        ),
        "standard-l0-60": StandardTrainingSAE(StandardTrainingSAEConfig(l1_coefficient=1e-3, **common)),
        "gated-l0-60": GatedTrainingSAE(GatedTrainingSAEConfig(l1_coefficient=1e-3, **common)),
    }
    for name, sae in saes.items():
        with torch.no_grad():
            for bias in ["b_enc", "b_gate", "b_mag"]:
                if "-l0-" in name and hasattr(sae, bias):
                    getattr(sae, bias).fill_(BIAS)
        run = trainer(sae)
        times = []
        for i in range(6):
            start = time.perf_counter()
            out = run._train_step(sae=sae, sae_in=x)
            if i:
                times.append(1e3 * (time.perf_counter() - start))
        l0 = (out.feature_acts != 0).float().sum(-1).mean().item()
        print(f"{name}: median {statistics.median(times):.0f} ms, {min(times):.0f} .. {max(times):.0f}, l0 {l0:.1f}")


if __name__ == "__main__":
    memory() if sys.argv[1:] == ["memory"] else main()
