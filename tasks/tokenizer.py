"""The tokenizer, learned from word counts: one that any `transformers` program loads, and a report on it.

The text itself is not read again for learning: another size or kind of tokenizer costs seconds. Only the report reads, and what it reads
was held out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.data import words as counting
from tasks.data.tokens import encoder, gulps

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHOWN = 24  # tokens shown in the report
SOME = 500  # training rows that a source without validation rows is reported on


class Params(Identity):
    method: Literal["bpe", "words", "characters", "extend"] = Field(
        default="bpe",
        description="bpe: byte pairs; words: whole words and characters; characters; extend: new tokens for the tokenizer in `base`",
    )
    vocab_size: int = Field(
        default=6400,
        ge=300,
        le=1_000_000,
        description="Tokens at most, with the special tokens, the 256 bytes and what `base` has",
    )
    min_frequency: int = Field(
        default=2, ge=1, description="Times a pair (bpe, extend) or a character (characters, extend) must occur to become a token"
    )
    max_words: int = Field(
        default=500_000,
        ge=1000,
        description="Distinct words learned from, the most frequent first; bounds memory, about 1 kB each",
    )
    word_threshold: int = Field(
        default=1500, ge=1, description="words: times a word or a character must occur to become a token (1500 is SCCLM's)"
    )
    all_splits: bool = Field(
        default=False, description="words: SCCLM's merges, every split of a word, instead of the likeliest words (unigram)"
    )
    special_tokens: list[Annotated[str, Field(pattern=r"^<\|[a-z0-9_]{1,40}\|>$")]] = Field(
        default_factory=list,
        description="Special tokens beside the chat template's own, such as <|tool|>; raw text never makes one",
    )
    template: Literal["chatml", "alpaca", "roles", "vicuna", "plain"] = Field(
        default="chatml", description="Chat template of the models trained with it (models/template.py)"
    )
    base: str = Field(
        default="", description="extend: folder with the outside tokenizer's tokenizer.json; $NAME is an environment variable"
    )

    @model_validator(mode="after")
    def _base_for_extend(self) -> Self:
        if (self.method == "extend") != bool(self.base):
            raise ValueError("`base` is the folder of the tokenizer that method `extend` extends, and belongs to no other method")
        return self


@stage("tokenizer", version=5, title="Tokenizer from word counts", params=Params, group="model", tools=("tokenizers",))
def run(job: Job, params: Params, *, counts: Path, rows: Path, base: list[Path] | None = None) -> Stats:
    """Learn from `counts`, report on held-out texts of the split `rows`. `base` is the `tokenizer.json` that is extended, alone in a list.

    Writes `tokenizer.json` with what `AutoTokenizer` reads beside it, `report.json` and `report.md`. `RuntimeError` where a text does not
    come back from its tokens letter by letter; a tokenizer from outside may not give it back, and is only counted.
    """
    outside = _outside(base)
    tokenizer = learn(params, counts, outside)
    tokenizer.save(str(job.out / "tokenizer.json"))
    _describe(job.out, params)
    counted = json.loads((counts / "counts.json").read_text("utf-8"))
    facts = {
        "method": params.method,
        "pattern": _pattern(tokenizer),
        "words": counted["words"],
        "distinct_words": counted["distinct_words"],
    }
    first = len(specials(params)) + 256 if outside is None else encoder(outside.parent).get_vocab_size()
    report = facts | report_on(encoder(job.out), rows, first=first, strict=outside is None)
    if params.method in ("bpe", "extend") and report["vocab_size"] < params.vocab_size:
        job.log(
            f"the text has only enough pairs for {report['vocab_size']} tokens of the {params.vocab_size} asked for; "
            "the model gets the smaller vocabulary (lower tokenizer.min_frequency or give more text for a larger one)"
        )
    for source, row in report["sources"].items():
        if row["exact"] < row["texts"]:
            job.log(
                f"{row['texts'] - row['exact']} of {row['texts']} texts of {source} do not come back: {params.base or outside} changes them"
            )
    (job.out / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1, sort_keys=True) + "\n", "utf-8")
    (job.out / "report.md").write_text(page(report), "utf-8")
    return {name: report[name] for name in ("method", "vocab_size", "distinct_words", "words", "sources", "longest")}


def specials(params: Params) -> list[str]:
    """Special tokens in the order of their ids: those of every tokenizer, the marks of the template's turns, and those of the recipe."""
    from models.template import SPECIAL_TOKENS, TEMPLATES

    chosen = TEMPLATES[params.template]
    around = "".join([*chosen.system, *chosen.user, chosen.assistant, chosen.stop, chosen.between, chosen.preamble])
    return list(dict.fromkeys([*SPECIAL_TOKENS, *re.findall(r"<\|\w+\|>", around), *params.special_tokens]))


def _outside(base: list[Path] | None) -> Path | None:
    assert base is None or len(base) == 1, "one tokenizer.json"
    return base[0] if base else None


def learn(params: Params, counts: Path, base: Path | None) -> Tokenizer:
    """The tokenizer of a method. `ValueError` where `vocab_size` has no room, or `base` cannot be extended."""
    from models import bpe, extend, vocabulary

    special = specials(params)
    room = params.vocab_size - len(special) - 256
    if params.method == "bpe":
        words = counting.read_counts(counts, params.max_words)
        found = bpe.train_bpe(words, vocab_size=params.vocab_size, min_frequency=params.min_frequency, special_tokens=special)
        return vocabulary.byte_level(*found, special)
    if params.method == "extend":
        assert base is not None, "extend has a base"
        words = counting.read_counts(counts, params.max_words)
        return extend.extend(
            base, words, vocab_size=params.vocab_size, min_frequency=params.min_frequency, special_tokens=special
        )
    alone = vocabulary.characters(counting.read_counts(counts))
    if params.method == "characters":
        entries = vocabulary.frequent([], alone, params.min_frequency, room)
        return vocabulary.of_characters(entries, special)
    entries = vocabulary.frequent(counting.read_counts(counts), alone, params.word_threshold, room)
    if not entries:
        raise ValueError(f"no word occurs {params.word_threshold} times; lower tokenizer.word_threshold or give more text")
    return vocabulary.of_splits(entries, special, room) if params.all_splits else vocabulary.of_words(entries, special)


def _describe(folder: Path, params: Params) -> None:
    """Write the files that `AutoTokenizer` reads beside `tokenizer.json`."""
    from tokenizers import Tokenizer

    from models import continuation, template

    assert template.PAD != template.END, "a model that takes its end for padding never learns to end"
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": template.PAD,
        "eos_token": template.END,
        "additional_special_tokens": [token for token in specials(params) if token not in (template.PAD, template.END)],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1 << 30,  # the model's business, not the tokenizer's
        template.KEY: params.template,
    }
    text = json.dumps(
        config, ensure_ascii=False, indent=2, sort_keys=True
    )  # as `models/tokenizer_files.py` writes it beside a model
    (folder / "tokenizer_config.json").write_text(text + "\n", "utf-8")
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    special = template.guarded(token.content for token in made.get_added_tokens_decoder().values() if token.special)
    begin = continuation.prefix(*(made.encode(continuation.ANCHOR, add_special_tokens=adds).ids for adds in (True, False)))
    chosen = template.TEMPLATES[params.template]
    text = chosen.jinja(chosen.stop or template.END, special, "".join(made.id_to_token(number) or "" for number in begin))
    (folder / "chat_template.jinja").write_text(text, "utf-8")


def _pattern(tokenizer: Tokenizer) -> str:
    """The name by which other programs know how the text is cut (GGUF's `tokenizer.ggml.pre`); empty where it is another's."""
    from models import pretokenizer

    return (
        pretokenizer.NAME
        if json.dumps(pretokenizer.PATTERN) in json.dumps(json.loads(tokenizer.to_str())["pre_tokenizer"])
        else ""
    )


def report_on(tokenizer: Tokenizer, rows: Path, *, first: int, strict: bool) -> Stats:
    """The report on held-out texts, by source, and on the tokens learned: the tokens from id `first` on."""
    from models import vocabulary

    spelled = vocabulary.spellings(tokenizer)
    parts = {number for number, raw in spelled.items() if len(raw) == 1 and raw[0] >= 0x80}
    sources: dict[str, dict[str, Any]] = {}
    for batch in gulps(held_out(rows)):
        encoded = [found.ids for found in tokenizer.encode_batch_fast([text for _, text in batch], add_special_tokens=False)]
        decoded = tokenizer.decode_batch(encoded, skip_special_tokens=False)
        for (source, text), ids, back in zip(batch, encoded, decoded, strict=True):
            if strict and back != text:
                raise RuntimeError(
                    f"a text of source {source} does not come back from its tokens: {text[:60]!r} became {back[:60]!r}"
                )
            row = sources.setdefault(source, {"texts": 0, "exact": 0, "characters": 0, "tokens": 0, "single_bytes": 0})
            row["texts"] += 1
            row["exact"] += back == text
            row["characters"] += len(text)
            row["tokens"] += len(ids)
            row["single_bytes"] += sum(token in parts for token in ids)
    for row in sources.values():
        row["characters_per_token"] = round(row["characters"] / max(1, row["tokens"]), 4)
        row["single_byte_share"] = round(row["single_bytes"] / max(1, row["tokens"]), 6)
    shown = {number: vocabulary.readable(raw) for number, raw in spelled.items() if number >= first}
    incomplete = [number for number in shown if not _whole(spelled[number])]
    whole = [shown[number] for number in shown if _whole(spelled[number])]
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "sources": dict(sorted(sources.items())),
        "changed": sum(row["texts"] - row["exact"] for row in sources.values()),
        "longest": sorted(whole, key=lambda text: (-len(text), text))[:SHOWN],
        "sample": _spread(list(shown.values())),  # from the most to the least frequent
        "incomplete": {"tokens": len(incomplete), "sample": _spread([shown[number] for number in incomplete])},
    }


def _whole(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _spread(tokens: list[str]) -> list[str]:
    """`SHOWN` of them, evenly from the first to the last."""
    step = max(1, len(tokens) // SHOWN)
    return tokens[step // 2 :: step][:SHOWN]


def held_out(rows: Path) -> Iterator[tuple[str, str]]:
    """(source, text) of the split's validation rows, all uses; of a source that has none, of `SOME` training rows."""
    seen = set[str]()
    for use in counting.COLUMNS:
        for source, parts in counting.split_texts(rows / use / "valid.parquet", use):
            seen.add(source)
            yield from ((source, text) for text in parts)
    for use in counting.COLUMNS:
        for source in sorted(_sources(rows / use / "train.parquet") - seen):
            for _, parts in islice(counting.split_texts(rows / use / "train.parquet", use, source=source), SOME):
                yield from ((source, text) for text in parts)


def _sources(path: Path) -> set[str]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found = set[str]()
    for batch in pq.ParquetFile(path).iter_batches(columns=["source"]) if path.exists() else ():
        found.update(pc.unique(batch["source"]).to_pylist())
    return found


def page(report: dict[str, Any]) -> str:
    """The report for people, as Markdown."""
    lines = [
        f"# Tokenizer: {report['method']}, {report['vocab_size']:,} tokens",
        "",
        f"Learned from {report['words']:,} words ({report['distinct_words']:,} distinct). Text is cut by "
        + (f"the pattern `{report['pattern']}`." if report["pattern"] else "the outside tokenizer's own rules."),
        "",
        "| source | texts | come back | characters | tokens | characters a token | single bytes of a character |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for source, row in report["sources"].items():
        back = "all" if row["exact"] == row["texts"] else f"{row['exact']:,}"
        lines.append(
            f"| {source} | {row['texts']:,} | {back} | {row['characters']:,} | {row['tokens']:,} | {row['characters_per_token']:.3f} | "
            f"{row['single_byte_share']:.2%} |"
        )
    incomplete = report["incomplete"]
    for title, tokens in (
        ("Learned tokens, from the most to the least frequent", report["sample"]),
        ("Longest tokens", report["longest"]),
        (f"Tokens that are no whole characters: {incomplete['tokens']:,}", incomplete["sample"]),
    ):
        if tokens:
            lines += ["", f"## {title}", "", " ".join(f"`{_visible(token)}`" for token in tokens)]
    return "\n".join(lines) + "\n"


def _visible(token: str) -> str:
    """A token that fits into a line of Markdown code: white space and marks as escapes, a backtick as its like."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in token.replace(" ", "·").replace("`", "ˋ")
    )
