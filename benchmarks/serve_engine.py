"""Throughput of the serving engine: 1, 8 and 32 requests at once, and transformers' continuous batching of the same requests beside it.

`python -m benchmarks.serve_engine [MODEL]`, MODEL being a folder of a Llama-like model; without one, the tiny preset with random weights. All
in one process and in turns, so that whatever else the machine does hits both sides. Each request reads 20 tokens and writes 48, greedily.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench import close
from models.engines.own import OwnEngine
from models.engines.settings import DecodingSettings

READ, WRITTEN, ROUNDS = 20, 48, 5
COUNTS = (1, 8, 32)


def prompts(vocabulary: int, count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(4, vocabulary, (count, READ), generator=generator).tolist()


def ours(engine: OwnEngine, asked: list[list[int]]) -> list[list[int]]:
    under_way = [engine.submit(ids, DecodingSettings(WRITTEN), 0) for ids in asked]
    return [[token.id for token in generation] for generation in under_way]


def theirs(manager: Any, asked: list[list[int]]) -> list[list[int]]:
    names = [manager.add_request(ids, max_new_tokens=WRITTEN, eos_token_id=-1) for ids in asked]
    results = {}
    while len(results) < len(asked):
        if result := manager.get_result(timeout=1):
            results[result.request_id] = list(result.generated_tokens)
    return [results[name] for name in names]


def measured(answer: Any, asked: list[list[int]]) -> tuple[float, float, list[list[int]]]:
    """Tokens per second by the clock and by processor time, and the tokens."""
    clock, processor = time.perf_counter(), time.process_time()
    answers = answer(asked)
    made = sum(map(len, answers))
    return made / (time.perf_counter() - clock), made / (time.process_time() - processor), answers


def manager_of(model: Any) -> Any:
    from transformers import ContinuousBatchingConfig, GenerationConfig

    generation = GenerationConfig(max_new_tokens=WRITTEN, do_sample=False, eos_token_id=-1, pad_token_id=0, use_cache=True)
    manager = model.init_continuous_batching(
        generation_config=generation, continuous_batching_config=ContinuousBatchingConfig(num_blocks=128, max_batch_tokens=512)
    )
    manager.start()
    return manager


def random_tiny(home: Path) -> Path:
    """A tiny Llama with random weights and the tokenizer of the tests."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from models import presets
    from tests import tiny

    tokenizer = tiny.make_tokenizer(home / "tokenizer", tiny.split(home / "world"))
    torch.manual_seed(0)
    size = len(AutoTokenizer.from_pretrained(tokenizer))
    AutoModelForCausalLM.from_config(presets.build("tiny", max(size, 3000))).save_pretrained(home / "model")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer / name, home / "model" / name)
    return home / "model"


def main(model: str = "") -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        engine = OwnEngine(Path(model) if model else random_tiny(Path(folder)), "cpu")
        other = OwnEngine(Path(model) if model else Path(folder) / "model", "cpu")
    engine._stops = frozenset()  # every answer has the same length
    asked = prompts(engine.model.config.vocab_size, max(COUNTS))
    manager = manager_of(other.model)
    speeds: dict[tuple[str, int], list[tuple[float, float]]] = {}
    different = 0
    for round_number in range(ROUNDS + 1):
        for count in COUNTS:
            ours_now = measured(lambda asked: ours(engine, asked), asked[:count])
            theirs_now = measured(lambda asked: theirs(manager, asked), asked[:count])
            different += sum(a != b for a, b in zip(ours_now[2], theirs_now[2], strict=True))
            if round_number:  # the first one warms up
                speeds.setdefault(("ours", count), []).append(ours_now[:2])
                speeds.setdefault(("transformers", count), []).append(theirs_now[:2])
    manager.stop(block=True)
    engine.close()
    other.close()
    clock = {key: statistics.median(one for one, _ in found) for key, found in speeds.items()}
    processor = {key: statistics.median(one for _, one in found) for key, found in speeds.items()}
    print(f"{'at once':>8} {'ours':>16} {'transformers':>16}   tokens/s by the clock (by processor time)")
    for count in COUNTS:
        cells = [f"{clock[who, count]:8.0f} ({processor[who, count]:.0f})" for who in ("ours", "transformers")]
        print(f"{count:>8} {cells[0]:>16} {cells[1]:>16}")
    ratios = {count: clock["ours", count] / clock["ours", 1] for count in COUNTS[1:]}
    by_processor = {count: processor["ours", count] / processor["ours", 1] for count in COUNTS[1:]}
    beside = {count: clock["ours", count] / clock["transformers", count] for count in COUNTS}
    print("times one by one:", {count: round(ratio, 1) for count, ratio in ratios.items()}, "by processor time:", by_processor)
    print("times transformers:", {count: round(ratio, 1) for count, ratio in beside.items()}, "answers that differ:", different)
    ok = met(ratios, beside, different)
    close("serve_engine", round(ratios[32], 2), "times one by one at 32", ">= 8, and >= 4 at 8, and >= transformers'", ok)


def met(ratios: dict[int, float], beside: dict[int, float], different: int) -> bool:
    """Together several times as fast as one by one, never slower than transformers, and the same answers."""
    return ratios[8] >= 4 and ratios[32] >= 8 and min(beside[8], beside[32]) >= 1 and not different


if __name__ == "__main__":
    main(*sys.argv[1:])
