"""Log-probabilities of the reference model: those that a model gives the answers of all pairs before DPO."""

from __future__ import annotations

import numpy as np

from models.job import Emit, Stats, Stopping, TrainingJob
from models.methods import preferences

Params = preferences.PreferenceParams


def reference(job: TrainingJob[preferences.PreferenceParams], emit: Emit, stopping: Stopping) -> Stats:
    """Write `train.npy` and `valid.npy`, (pairs, 2): chosen, rejected, in nats. It trains nothing, so there is no checkpoint to stop at."""
    trainer, stats = preferences.prepare(job, emit, trains=False)
    for split, rows in (("train", trainer.train_dataset), ("valid", trainer.eval_dataset)):
        log_probabilities = np.zeros((0, 2), np.float32) if rows is None else trainer.reference_log_probs(rows)
        if trainer.is_world_process_zero():
            np.save(job.out / f"{split}.npy", log_probabilities)
    return stats | {"pairs": {"train": len(trainer.train_dataset), "valid": len(trainer.eval_dataset or [])}}
