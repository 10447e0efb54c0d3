"""Our pretraining step against a bare torch loop, and against transformers' trainer with its default settings.

The three train the same preset on the same windows of packed documents, from the same weights, and take turns step by step in one process,
so that whatever else the machine does falls on all of them. Ours is the engine as a job starts it, with its logging and progress reports.
The bare loop has the same batch, precision, loss and optimiser, and nothing around them. The trainer has transformers' model as it is,
AdamW and float32, which are its defaults, and the same batch. On a CPU the figures are processor time, which a busy machine leaves alone;
wall time is printed beside it, and must reach the bar as well with `--idle`, on a machine that does nothing else. On a GPU they are wall time.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench import close, playground
from models.loading import device_of, has_bf16

BARE, TRAINER = 0.95, 1.0  # the bars: our speed as a multiple of theirs
WARM = 2  # steps that are not counted
Pause = Callable[[], None]  # called after each step


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--preset", default="tiny")
    options.add_argument("--context", type=int, default=256)
    options.add_argument("--batch", type=int, default=16, help="sequences a step")
    options.add_argument("--vocabulary", type=int, default=8192)
    options.add_argument("--steps", type=int, default=12, help="of each that are counted")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options.add_argument("--idle", action="store_true", help="the machine does nothing else, so wall time must reach the bar too")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    device = device_of(given.device)
    with playground() as home:
        setting = Setting(home, given.preset, given.context, given.batch, given.vocabulary, WARM + given.steps + 1, device)
        took = take_turns(
            {"Hanlin": setting.ours, "bare loop": setting.bare, "Trainer": setting.trainer}, WARM + given.steps, device
        )
    tokens = given.batch * given.context
    for name, (wall, cpu) in took.items():
        print(f"{name}: {wall:.3f} s a step ({cpu:.3f} of processors), {tokens / wall:,.0f} tokens/s", flush=True)
    ratios = {
        how: {name: took[name][place] / took["Hanlin"][place] for name in ("bare loop", "Trainer")}
        for place, how in enumerate(("wall time", "processor time"))
    }
    for how, each in ratios.items():
        print(f"by {how}: {each['bare loop']:.3f} × the bare loop, {each['Trainer']:.2f} × the trainer")
    deciding = ["wall time"] if device.type != "cpu" else ["processor time", "wall time"] if given.idle else ["processor time"]
    close(
        "throughput",
        round(ratios[deciding[0]]["bare loop"], 3),
        "× the speed of a bare loop",
        f"≥ {BARE}, and faster than transformers' trainer",
        met(ratios, deciding),
        decided_by=" and ".join(deciding),
        **{how.replace(" ", "_"): {name: round(ratio, 3) for name, ratio in each.items()} for how, each in ratios.items()},
        precision="bfloat16" if has_bf16(device) else "float32",
        device=device.type,
    )


def met(ratios: dict[str, dict[str, float]], deciding: list[str]) -> bool:
    """True where the bars are met by each of the times that decide."""
    return all(ratios[how]["bare loop"] >= BARE and ratios[how]["Trainer"] > TRAINER for how in deciding)


def take_turns(loops: dict[str, Callable[[Pause], None]], steps: int, device: torch.device) -> dict[str, tuple[float, float]]:
    """Mean seconds of a step of each, wall and processors', the first `WARM` left out. The loops rest while another one works."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    turns = {name: Turn(work) for name, work in loops.items()}
    for _ in range(steps):
        for name, turn in turns.items():
            started = time.perf_counter(), time.process_time()
            turn.step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            found[name].append((time.perf_counter() - started[0], time.process_time() - started[1]))
    return {name: tuple(np.mean(each[WARM:], axis=0).tolist()) for name, each in found.items()}


class Turn:
    """A training loop in a thread of its own, which rests after each step until it is called."""

    def __init__(self, work: Callable[[Pause], None]):
        self.call, self.rest = threading.Semaphore(0), threading.Semaphore(0)
        self.failure: BaseException | None = None
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[Pause], None]) -> None:
        self.call.acquire()
        try:
            work(self._pause)
        except BaseException as failure:
            self.failure = failure
        self.rest.release()

    def _pause(self) -> None:
        self.rest.release()
        self.call.acquire()

    def step(self) -> None:
        self.call.release()
        self.rest.acquire()
        if self.failure:
            raise self.failure


class Setting:
    """The same task for each loop: documents of random tokens, packed."""

    def __init__(self, home: Path, preset: str, context: int, batch: int, vocabulary: int, steps: int, device: torch.device):
        self.home, self.preset, self.context, self.batch, self.vocabulary = home, preset, context, batch, vocabulary
        self.steps, self.device = steps, device
        self.resources: dict[str, Any] = {}
        _tokenizer(home / "tokenizer", vocabulary)
        dice, rows = np.random.default_rng(1), max(64, 2 * batch)
        ends = np.append(np.arange(0, rows * context, 170), rows * context)
        for split in ("train", "valid"):
            dice.integers(4, vocabulary, ends[-1]).astype("<u2").tofile(self._packed(f"{split}.bin"))
            np.save(self._packed(f"{split}.offsets.npy"), ends)
        self._packed("pack.json").write_text(json.dumps({"dtype": "uint16", "vocab_size": vocabulary}), "utf-8")

    def _packed(self, name: str) -> Path:
        (self.home / "packed").mkdir(exist_ok=True)
        return self.home / "packed" / name

    def ours(self, pause: Pause) -> None:
        from models import train
        from models.job import read
        from tasks.artifacts.stage import Job, Resources
        from tasks.pretrain import METHOD, Params
        from tasks.processes.training import description

        params = {"tokens": self.steps * self.batch * self.context, "batch_tokens": self.batch * self.context}
        never = {"eval_steps": 1_000_000, "preset": self.preset, "context": self.context}
        resources = Resources(**{"device": self.device.type, "checkpoint_steps": 1_000_000} | self.resources)
        job = Job(out=self.home / "out", scratch=self.home / "scratch", resources=resources)
        folders = {name: self.home / name for name in ("packed", "tokenizer")}
        described = description("pretrain", METHOD, job, Params(**never | params), shards=True, **folders)
        (self.home / "job.json").write_text(json.dumps(described), "utf-8")

        def after() -> bool:
            pause()
            return False

        train.run(read(self.home / "job.json"), lambda event, **fields: None, after)

    def bare(self, pause: Pause) -> None:
        from models import losses, optim
        from models.trainer import compile_layers

        model, rows = self._model(), self._rows()
        losses.fuse(model)
        low = has_bf16(self.device)
        precision = torch.bfloat16 if low else torch.float32
        optimiser = optim.make(model, "muon", lr=1e-3, weight_decay=0.1, precision=precision)
        if self.resources.get("compile"):
            compile_layers(model)
        for batch in rows:
            targets = (batch["labels"][:, 1:] >= 0).sum()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
                loss = model(**batch) / targets
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            pause()

    def trainer(self, pause: Pause) -> None:
        from transformers import Trainer, TrainerCallback, TrainingArguments

        from models import dataset

        class Rest(TrainerCallback):
            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                pause()

        arguments = TrainingArguments(
            output_dir=str(self.home / "trainer"),
            per_device_train_batch_size=self.batch,
            max_steps=self.steps,
            disable_tqdm=True,
            use_cpu=self.device.type == "cpu",
        )
        windows = dataset.WindowDataset(self.home / "packed", "train", self.context)
        Trainer(self._model(), arguments, train_dataset=windows, callbacks=[Rest()]).train()

    def _model(self) -> Any:
        from transformers import AutoModelForCausalLM

        from models import presets

        torch.manual_seed(1)
        return AutoModelForCausalLM.from_config(presets.build(self.preset, self.vocabulary, self.context)).to(self.device)

    def _rows(self) -> Any:
        from models import dataset

        windows = dataset.WindowDataset(self.home / "packed", "train", self.context)
        for step in dataset.sample_order(len(windows), self.steps * self.batch, 1).reshape(self.steps, self.batch):
            yield {name: column.to(self.device) for name, column in dataset.collate([windows[row] for row in step]).items()}


def _tokenizer(folder: Path, vocabulary: int) -> None:
    """One of so many words, for an engine that wants to see what its data was packed with."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"<{number}>": number for number in range(vocabulary)}
    made = Tokenizer(models.WordLevel(words, unk_token="<3>"))
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<0>", eos_token="<1>", unk_token="<3>").save_pretrained(folder)


if __name__ == "__main__":
    main()
