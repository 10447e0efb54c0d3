"""Exports of every preset at its tiny scale, in every format that holds it: each is read by its program and compared with the model.

The Llamas, the experts and RetNet have random weights, far enough apart that their answers differ, and a tokenizer that is learned here; the T5
is trained first, for a minute, until it knows 20 answers: a random one repeats itself, and its equality would say little. The bar: where nothing is
rounded, all token ids, templates and greedy answers are equal and log-probabilities within 1e-4; what a format cannot hold is refused
within two seconds. Then the speed of t5-0.2b in CTranslate2 (int8) and in transformers (float32), one thread each, by processor time: tokens a
second at the same batch, and their ratio. At last rounded weights, whose KL divergences are printed. What does not begin within `--minutes` is
left out, and named in the closing line; without an exact export left out, the bar can be met.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from benchmarks.bench import close, playground, timed
from models import presets, template
from models.export import awkward, exporter, formats
from models.export.source import Source
from tests import tiny

CLOSE, SECONDS = 1e-4, 2.0  # the bars
SPEED_TAKES = 150.0  # seconds, about
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("tiny", {}),
    "tiny, kv_heads": ("tiny", {"kv_heads": 1}),
    "tiny, qk_norm": ("tiny", {"qk_norm": True, "kv_heads": 1}),
    "tiny, qkv_bias": ("tiny", {"qkv_bias": True}),
    "16m": ("16m", {}),
    "tiny-moe": ("tiny-moe", {}),
    "moe-undivided": ("tiny-moe-undivided", {}),
    "retnet-tiny": ("retnet-tiny", {}),
    "t5-tiny": ("t5-tiny", {}),
}
ROUNDED = {"gguf": ("q8_0", "q4_0", "q4_k_m"), "ctranslate2": ("int8",), "hf": ("bfloat16", "8bit", "4bit")}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    options.add_argument("--speed", default="t5-0.2b", help="The T5 whose speed is taken; empty: none")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--minutes", type=float, default=9.0, help="After these nothing new begins")
    given = options.parse_args()
    torch.set_num_threads(1)
    until = time.monotonic() + 60 * given.minutes
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    with playground() as home:
        made = tiny.make_tokenizer(home / "tokenizer", tiny.split(home / "world"), vocab_size=400)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(made)
        folders: dict[str, Path] = {}

        def export(name: str, to: str, precision: str) -> None:
            if time.monotonic() > until:
                left_out.append(f"{name} {to} {precision}")
                return
            if name not in folders:
                folders[name] = made_model(home / name, tokenizer, name, until)
                return export(name, to, precision)
            rows.append(exported(name, folders[name], to, precision, home / "out"))
            print(line(rows[-1]), flush=True)

        for name in given.models:
            for to, one in formats.FORMATS.items():
                export(name, to, one.precisions[0])
        ratio = None
        if given.speed and time.monotonic() < until - SPEED_TAKES:
            ratio = speed(home / "speed", tokenizer, given.speed, given.batch)
        elif given.speed:
            left_out.append(f"speed of {given.speed}")
        for to, precisions in ROUNDED.items():
            for precision in precisions:
                for name in given.models:
                    export(name, to, precision)
    exact = [row for row in rows if row["exact"] and "refused" not in row]
    exact_left = [what for what in left_out if what.rpartition(" ")[2] in exporter.EXACT]
    met = sum(row["equal"] for row in exact)
    slow = [row for row in rows if row.get("refused") and row["seconds"] > SECONDS]
    rounded = {f"{row['model']} {row['to']} {row['precision']}": row["kl"] for row in rows if not row["exact"] and "kl" in row}
    close(
        "export",
        met,
        f"of {len(exact)} exports without rounding that are the model",
        f"all, log-probabilities within {CLOSE}; refusals within {SECONDS:.0f} s",
        met == len(exact) and not slow and not exact_left,
        refused=sum("refused" in row for row in rows),
        largest_difference=max((row["largest"] for row in exact), default=None),
        kl=rounded,
        int8_t5=ratio,
        left_out=left_out,
    )


def made_model(folder: Path, tokenizer: Any, name: str, until: float) -> Path:
    return trained_t5(folder, tokenizer, until) if name == "t5-tiny" else random_model(folder, tokenizer, *MODELS[name])


def random_model(folder: Path, tokenizer: Any, preset: str, options: dict[str, Any]) -> Path:
    """A random model of a preset, whose matrices are large enough and norms uneven enough for answers of its own."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(presets.build(preset, len(tokenizer), 128, **options))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0) if weight.dim() > 1 else weight.add_(torch.randn_like(weight) * 0.1)
    return saved(model, folder, tokenizer)


def saved(model: Any, folder: Path, tokenizer: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trained_t5(folder: Path, tokenizer: Any, until: float, steps: int = 200) -> Path:
    """A T5 that has learned an answer of its own to each of the 20 questions: the one written backwards."""
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(presets.build("t5-tiny", len(tokenizer)))
    asked = [[{"role": "user", "content": question}] for question in awkward.QUESTIONS]
    prompts = tokenizer.pad({"input_ids": [ids for ids, _ in template.encode(tokenizer, asked, reply=True)]}, return_tensors="pt")
    answers = tokenizer([question[::-1] for question in awkward.QUESTIONS], add_special_tokens=False)["input_ids"]
    labels = tokenizer.pad({"input_ids": [[*ids, tokenizer.eos_token_id] for ids in answers]}, return_tensors="pt")["input_ids"]
    labels[labels == tokenizer.pad_token_id] = -100
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(steps):
        if time.monotonic() > until:
            break
        loss = model(**prompts, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if step % 50 == 49:
            print(f"t5-tiny learns: step {step + 1}, loss {float(loss):.3f}", flush=True)
    return saved(model, folder, tokenizer)


def exported(name: str, folder: Path, to: str, precision: str, home: Path) -> dict[str, Any]:
    """One row of the table: an export and its figures, or the refusal."""
    row: dict[str, Any] = {"model": name, "to": to, "precision": precision, "exact": precision in exporter.EXACT}
    seconds, problems = timed(formats.problems, folder, to, precision)
    if problems:
        return row | {"refused": problems[0], "seconds": seconds}
    out = home / f"{name}-{to}-{precision}"
    job = {"model": str(folder), "out": str(out), "scratch": str(home), "to": to, "precision": precision}
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            stats = exporter.export(job)
    except ValueError as failure:
        return row | {"equal": False, "largest": float("inf"), "said": str(failure)}
    figures = stats["comparison"]
    parts = {part: figures[part] for part in ("ids", "template", "greedy") if figures[part]}
    distance = figures["log_probabilities"]
    equal = all(part["equal"] == part["of"] for part in parts.values()) and distance["largest_difference"] <= CLOSE
    counts = {part: f"{one['equal']}/{one['of']}" for part, one in parts.items()}
    return row | counts | {"equal": equal, "largest": distance["largest_difference"], "kl": distance["mean_kl"]}


def line(row: dict[str, Any]) -> str:
    what = f"{row['model']:<15} {row['to']:<12} {row['precision']:<9}"
    if "refused" in row:
        return f"{what} refused in {row['seconds']:.2f} s: {row['refused'][:110]}"
    if "said" in row:
        return f"{what} FAILED: {row['said']}"
    counts = ", ".join(f"{part} {row[part]}" for part in ("ids", "template", "greedy") if part in row)
    kl = "" if row["kl"] is None else f", KL {max(row['kl'], 0):.1e}"
    return f"{what} {counts}, log-probabilities {row['largest']:.1e}{kl}"


def speed(home: Path, tokenizer: Any, preset: str, batch: int, read: int = 40, written: int = 12) -> dict[str, float]:
    """Tokens a second of processor time, at one thread: transformers in float32, CTranslate2 in int8, and their ratio."""
    import ctranslate2

    from models.export import ctranslate2 as ours

    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(presets.build(preset, 29_298))
    folder = saved(model, home / "model", tokenizer)
    ours.write(Source(folder), home / "out", "int8", print)
    ids = torch.randint(10, len(tokenizer), (batch, read))
    rows = [tokenizer.convert_ids_to_tokens(row) for row in ids.tolist()]
    translator = ctranslate2.Translator(str(home / "out"), device="cpu", intra_threads=1, inter_threads=1)
    model.eval()

    def transformers() -> None:
        with torch.inference_mode():
            model.generate(ids, max_new_tokens=written, min_new_tokens=written, do_sample=False, use_cache=True)

    def rounded() -> None:
        translator.translate_batch(rows, beam_size=1, max_decoding_length=written, min_decoding_length=written)

    best = {}
    for name, work in (("transformers", transformers), ("ctranslate2", rounded)):
        work()  # once to warm up
        started = time.process_time()
        work()
        best[name] = round(batch * written / (time.process_time() - started), 1)
    best["ratio"] = round(best["ctranslate2"] / best["transformers"], 2)
    print(f"{preset}, batch {batch}, {read} tokens read, {written} written, by processor time: {best}", flush=True)
    return best


if __name__ == "__main__":
    main()
