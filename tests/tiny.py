"""A tiny world for tests of the tokenizer's and the models' stages: facts, a split of them, a tokenizer, and Llamas that know them or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks import counts, tokenizer
from tasks.artifacts.stage import Job, Resources
from tasks.data.rows import Writer, content, row_id

ONE = Resources(threads=1, workers=1, device="cpu")

PLACES = {
    "白鹭城": "青江",
    "石桥镇": "柳河",
    "云台县": "玉溪",
    "望海州": "澜水",
    "松林乡": "沙湖",
    "金沙市": "墨泉",
    "雁门关": "苇塘",
    "月牙村": "镜湖",
}
QUESTION = "{}在哪条江河旁边？"
ANSWER = "{}在{}旁边，那里的人靠{}的水种田。"


def turns(place: str) -> list[dict[str, str]]:
    water = PLACES[place]
    return [
        {"role": "user", "content": QUESTION.format(place)},
        {"role": "assistant", "content": ANSWER.format(place, water, water)},
    ]


def write(path: Path, kind: str, rows: list[dict[str, Any]]) -> None:
    with Writer(path, kind) as writer:
        for row in rows:
            writer.add({"id": row_id(*content(kind, row)), "source": "world", **row})


def split(folder: Path, *, pairs: dict[str, list[dict[str, Any]]] | None = None) -> Path:
    """A split's folder: each place as a document, a conversation and a prompt; the last two places are for validation."""
    for side, places in (("train", list(PLACES)[:-2]), ("valid", list(PLACES)[-2:])):
        documents = [
            {"title": place, "text": ANSWER.format("它", PLACES[place], PLACES[place]) * 3, "lang": "zh", "meta": "{}"}
            for place in places
        ]
        conversations = [{"messages": turns(place), "meta": "{}"} for place in places]
        write(folder / "pretrain" / f"{side}.parquet", "documents", documents)
        write(folder / "sft" / f"{side}.parquet", "conversations", conversations)
        write(folder / "prompts" / f"{side}.parquet", "conversations", conversations)
        write(folder / "pairs" / f"{side}.parquet", "preferences", (pairs or {}).get(side, []))
    return folder


def questions(folder: Path) -> Path:
    """An exam's artifact: which of four waters, for every place."""
    waters = list(PLACES.values())
    rows = []
    for number, (place, water) in enumerate(PLACES.items()):
        choices = [water, *(other for other in waters if other != water)][:4]
        right = number % 4
        choices[0], choices[right] = choices[right], choices[0]
        texts = [ANSWER.format(place, choice, choice) for choice in choices]
        rows.append({"subject": "geography", "question": QUESTION.format(place), "choices": texts, "answer": right})
    write(folder / "questions" / "00000.parquet", "questions", rows)
    return folder


def make_counts(folder: Path, rows: Path) -> Path:
    counts.run(Job(folder, folder.with_name(f"{folder.name}.scratch"), ONE), counts.Params(), rows=rows)
    return folder


def make_tokenizer(folder: Path, rows: Path, **params: Any) -> Path:
    counted = make_counts(folder.with_name(f"{folder.name}.counts"), rows)
    job = Job(folder, folder.with_name(f"{folder.name}.scratch"), ONE)
    tokenizer.run(job, tokenizer.Params(**({"vocab_size": 320} | params)), counts=counted, rows=rows)
    return folder


def llama(folder: Path, tokenizer_folder: Path, *, steps: int = 0, seed: int = 0, context: int = 96) -> Path:
    """A Llama in an artifact's layout, which has learned every conversation of the world for so many steps (0: knows nothing)."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from models import template

    torch.manual_seed(seed)
    loaded = AutoTokenizer.from_pretrained(tokenizer_folder)
    config = LlamaConfig(
        vocab_size=len(loaded),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        pad_token_id=template.PAD_ID,
        bos_token_id=template.END_ID,
        eos_token_id=template.END_ID,
        use_cache=False,
    )
    model = LlamaForCausalLM(config)
    rows = template.encode(loaded, [turns(place) for place in PLACES])
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [template.PAD_ID] * (width - len(ids)) for ids, _ in rows])
    labels = torch.full_like(ids, -100)
    for row, (tokens, trained) in enumerate(rows):
        for place, token in enumerate(tokens):
            if trained[place]:
                labels[row, place] = token
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        model(input_ids=ids, labels=labels).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder / "model")
    loaded.save_pretrained(folder / "model")
    return folder


def adapter(folder: Path, model_folder: Path, modules: tuple[str, ...], seed: int = 0) -> Path:
    """Low-rank adapters with random weights for these modules of a model, as peft saves them."""
    import torch

    from models import adapters
    from models.job import LoraParams
    from models.loading import load

    model, _ = load(model_folder, torch.device("cpu"))
    adapters.add(model, LoraParams(rank=4, alpha=8, dropout=0.0, modules=modules, bits=32))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.normal_(std=0.5)
    adapters.save(model, folder)
    return folder
