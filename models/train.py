"""The training engine: `python -m models.train job.json`, alone or under `accelerate launch`.

The job file: `stage` (pretrain, sft, reward, reference or dpo), `params`, `resources`, `inputs` (folders by role), `out`, `scratch`. It
prints JSON lines (`tasks/processes/runner.py` says which); only the first of several processes prints and saves. SIGTERM ends the run after the step
under way, with a checkpoint and exit code 75; started again with the same job file it goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LOCK_SECONDS = 60  # that an earlier trainer on the same scratch gets to end
STOPPED = 75  # EX_TEMPFAIL: start me again


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    first = os.environ.get("RANK", "0") == "0"
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # whatever a library prints is no event

    def emit(event: str, **fields: Any) -> None:
        if first:
            print(json.dumps({"event": event, **fields}, ensure_ascii=False), file=events, flush=True)

    asked: list[int] = []
    try:
        with alone(Path(job["scratch"])) if first else contextlib.nullcontext():
            quiet(Path(job["scratch"]))
            signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
            result = run(job, emit, lambda: bool(asked))
    except ValueError as mistake:
        emit("error", message=str(mistake))
        return 1
    except RuntimeError as failure:
        if "memory" not in str(failure):
            raise
        emit(
            "error",
            message=f"out of memory ({str(failure).splitlines()[0]}); lower resources.micro_batch, which changes nothing but the speed",
        )
        return 1
    if result is None:
        emit("error", message="stopped by a signal, with a checkpoint saved; the same run, started again, goes on from there")
        return STOPPED
    emit("result", **result)
    return 0


def run(job: dict[str, Any], emit: Callable[..., None], stopping: Callable[[], bool] = lambda: False) -> dict[str, Any] | None:
    """Train, write `out/model` and `out/log.jsonl`, and return the statistics; None if it was stopped. `ValueError` is for the user."""
    import torch
    from transformers import set_seed

    from models import methods, sharding

    began = time.monotonic()
    set_seed(job["params"]["seed"])
    if job["stage"] == "reference":
        return methods.reference(job, emit) | {"seconds": time.monotonic() - began}
    trainer, stats = getattr(methods, job["stage"])(job, emit, stopping)
    trainer.go()
    if trainer.stopped:
        return None
    history, best = trainer.history(), trainer.best_step()
    step = best if job["params"]["weights"] == "best" else trainer.run.steps
    if trainer.is_world_process_zero():
        _publish(job, trainer, step)
    checked = {row["step"]: row for row in history if "eval_loss" in row}
    here = trainer.run.steps - trainer.resumed
    return {
        **stats,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "steps": trainer.run.steps,
        "batch": trainer.run.batch,
        "tokens": trainer.run.tokens,
        "learning_rate": trainer.run.learning_rate,
        "loss": [row["loss"] for row in history if "loss" in row][-1],
        "weights": job["params"]["weights"],
        "weights_step": step,
        **{name: value for name, value in checked.get(step, {}).items() if name != "step"},
        "eval_rows": len(trainer.run.eval_order),
        "best_eval_loss": checked.get(best, {}).get("eval_loss"),
        "best_step": best,
        **({} if trainer.expert_use is None else {"expert_use": trainer.expert_use.tolist()}),
        "precision": "bfloat16" if trainer.args.bf16 else "float32",
        "device": trainer.args.device.type,
        "processes": trainer.accelerator.num_processes,
        "shards": sharding.sharded(trainer.model),
        "threads": torch.get_num_threads(),
        "micro_batch": trainer.run.micro,
        "resumed_from": trainer.resumed,
        "seconds_per_step": trainer.seconds / here if here else None,
        "seconds": time.monotonic() - began,
    }


def _publish(job: dict[str, Any], trainer: Any, step: int) -> None:
    """The model of a step as `AutoModelForCausalLM` loads it, its tokenizer, the states that were asked for, and the log. Nothing in it tells
    one run of the same from another."""
    from transformers import AutoTokenizer, GenerationConfig

    from models import checkpoint, continuation, initialisation, sharding, template, training_state

    model, tokenizer, run = trainer.model, trainer.processing_class, trainer.run
    if sharding.asked():
        model = trainer.rebuild()
    if sharding.asked() or step != run.steps:
        training_state.load_weights(model, checkpoint.place(run.checkpoints, step))
    home = Path(job["out"]) / "model"
    lora = job["params"].get("lora")
    if lora:
        model = _adapted(job, model, home.with_name("adapter"))
    model.config.use_cache = True  # training is over
    if hasattr(model.config, "output_router_logits"):
        model.config.output_router_logits = False  # TRL's trainers switch it on
    source = Path(job["inputs"].get("tokenizer") or job["inputs"]["model"])
    own = AutoTokenizer.from_pretrained(source)  # the trainer's may have padding that its model never had
    if job["params"].get("template"):
        template.use(own, job["params"]["template"])
    pad = tokenizer.pad_token_id if job["stage"] == "reward" else own.pad_token_id  # a classifier finds its last token by it
    ids = {"pad_token_id": pad, "eos_token_id": own.eos_token_id}
    begin = own.bos_token_id if continuation.bos_ids(own) else own.eos_token_id
    model.config.update(ids if model.config.is_encoder_decoder else ids | {"bos_token_id": begin})
    if model.can_generate():
        stops = template.stops(own) if job["stage"] != "pretrain" else own.eos_token_id
        model.generation_config = GenerationConfig.from_model_config(model.config)
        model.generation_config.eos_token_id = stops
    model.save_pretrained(home)
    for path in home.iterdir():
        path.chmod(0o644)  # safetensors writes for the owner alone
    if job["params"].get("template"):
        own.save_pretrained(home)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if not (home / name).exists() and (source / name).exists():
            shutil.copyfile(source / name, home / name)
    wanted = dict.fromkeys(run.keep, "stable") | ({step: "state"} if job["params"].get("keep_state") else {})
    for at, name in wanted.items():
        before = run.start.facts if run.start else {"step": 0, "tokens": 0}
        far = {"step": before["step"] + at, "tokens": before["tokens"] + round(run.tokens * at / run.steps)}
        facts = initialisation.facts(job) | far | {"learning_rate": run.learning_rate}
        training_state.publish(checkpoint.place(run.checkpoints, at), home.with_name(name), facts)
    (home.parent / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in trainer.history()), "utf-8")


def _adapted(job: dict[str, Any], model: Any, folder: Path) -> Any:
    """Write the adapters by themselves, as peft loads them; then the whole model with them added, on a base in full precision."""
    import torch

    from models import adapters, initialisation
    from models.loading import load

    adapters.save(model, folder)
    initialisation.describe(job, folder)
    if job["params"]["lora"]["bits"] != 32:  # what was rounded for training is not what they are added to
        model, _ = load(Path(job["inputs"]["model"]), torch.device("cpu"))
        adapters.go_on(model, folder)
    adapters.merge(model)
    return model


@contextlib.contextmanager
def alone(scratch: Path) -> Iterator[None]:
    """Hold the folder's lock, so that an orphan and its successor never write the same checkpoints. `ValueError` after a minute."""
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / "trainer.lock").open("a+") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    holder = lock.read().strip()
                    raise ValueError(
                        f"another trainer (process {holder}) still works in {scratch}; end it, or wait until it is done"
                    ) from None
                time.sleep(0.2)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def quiet(scratch: Path) -> None:
    """Before the libraries are imported: no network, no caches in the user's home, no bars and no advice."""
    os.environ.update(
        {
            "HF_HOME": str(scratch / "cache"),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
            "DATASETS_VERBOSITY": "error",
            "TQDM_DISABLE": "1",
        }
    )
    if "WORLD_SIZE" not in os.environ:  # one process drives one device; several would be wrapped in nn.DataParallel
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    warnings.filterwarnings("ignore")


if __name__ == "__main__":
    sys.exit(main())
