"""Import of a pretrained model from outside: read, checked and written as our own models are; `python -m models.importer job.json`.

The job file: `files` (a folder), `out`, `tokenizer` (the folder of one that extends the model's own, or null), `chat` (true where the model
knows turns, and its own chat template is the one to ask it by). The weights keep their precision and, without another tokenizer, their bytes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.utils import logging

from models import embeddings, heads, template, tokenizer_files
from models.events import emit, main
from models.loading import config_of, context_of, described

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXT = "白日依山尽，黄河入海流。"  # a tokenizer for Chinese must be able to spell it


def import_model(job: dict[str, Any]) -> dict[str, Any]:
    """The child's work: write the model and its tokenizer; returns what is worth knowing of them."""
    files, out = Path(job["files"]), Path(job["out"])
    logging.disable_progress_bar()
    kind = _kind(files)
    tokenizer = _tokenizer(files)
    model, report = kind.from_pretrained(files, dtype="auto", output_loading_info=True, ignore_mismatched_sizes=True)
    if missing := sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}):
        raise ValueError(
            f"{files.name}: {len(missing)} of the weights that its config.json describes are not there or of another shape "
            f"({', '.join(missing[:3])} …); the files do not belong together: fetch them again"
        )
    rows, last = model.get_input_embeddings().num_embeddings, max(tokenizer.get_vocab().values())
    if last >= rows:
        raise ValueError(
            f"the tokenizer has ids up to {last} and the model {rows} rows of embeddings; the files do not belong together"
        )
    new = 0
    about = described(files)
    rewritten = heads.settle(model, about)
    if job["tokenizer"]:
        new = _extended(model, tokenizer, Path(job["tokenizer"]), out)
        tokenizer = tokenizer_files.read(out)
    elif rewritten:
        emit("log", text="the head is written with weights of its own, which every generation of transformers reads alike")
        model.save_pretrained(out)
    else:
        _copied(files, out)
        if (told := heads.settled(about, model)) != about:
            emit("log", text="config.json says that the head shares the embeddings, and its weights are its own: it says so now")
            (out / "config.json").write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", "utf-8")
    if job["chat"] and tokenizer.chat_template and not tokenizer.init_kwargs.get(template.KEY):
        template.keep(tokenizer)
    else:
        template.use(tokenizer, tokenizer.init_kwargs.get(template.KEY) or template.fitting(tokenizer))
    tokenizer_files.save(tokenizer, out)
    for path in out.iterdir():
        path.chmod(0o644)
    return {
        "architecture": type(model).__name__,
        "parameters": model.num_parameters(),
        "vocab_size": len(tokenizer),
        "new_tokens": new,
        "context": context_of(model),
        "precision": str(model.dtype).removeprefix("torch."),
        "template": tokenizer.init_kwargs[template.KEY],
        "characters_per_token": round(len(TEXT) / len(tokenizer.encode(TEXT, add_special_tokens=False)), 2),
    }


def _kind(files: Path) -> Any:
    """The Auto class that reads the model. `ValueError` for a model that neither transformers nor Hanlin knows, and for one that does not
    write text."""
    try:
        config = config_of(files)
    except (ValueError, KeyError, OSError) as failure:
        about = json.loads((files / "config.json").read_text("utf-8"))
        raise ValueError(
            f"config.json: model_type {about.get('model_type')!r} is nothing that transformers or Hanlin knows "
            f"({' '.join(str(failure).split())[:120]}); take a model of another architecture"
        ) from None
    name = (config.architectures or [""])[0]
    for kind in (AutoModelForCausalLM, AutoModelForSeq2SeqLM):
        known = kind._model_mapping[type(config)].__name__ if type(config) in kind._model_mapping else ""
        if known and name in (known, "") and config.is_encoder_decoder == (kind is AutoModelForSeq2SeqLM):
            return kind
    raise ValueError(
        f"config.json: {name or config.model_type} is no causal language model (…ForCausalLM), so it cannot learn to answer; take one that is, "
        "such as a Llama, Qwen or Mistral"
    )


def _tokenizer(files: Path) -> PreTrainedTokenizerBase:
    """The model's own tokenizer. `ValueError` where it has no end of text."""
    tokenizer = tokenizer_files.read(files, lambda line: emit("log", text=line))
    if tokenizer.eos_token is None:
        raise ValueError(
            "tokenizer_config.json: the tokenizer has no end of text (eos_token), so a model could not learn to stop; name one there"
        )
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    if not ids or tokenizer.unk_token_id in ids:
        emit("log", text="the tokenizer has no tokens for some common Chinese characters; base.extend gives it more")
    return tokenizer


def _copied(files: Path, out: Path) -> None:
    """Copy a model's weights and configurations as they are."""
    out.mkdir(parents=True)
    for path in sorted(files.iterdir()):
        if path.suffix == ".safetensors" or path.name in (
            "config.json",
            "generation_config.json",
            "model.safetensors.index.json",
        ):
            shutil.copyfile(path, out / path.name)


def _extended(model: Any, tokenizer: PreTrainedTokenizerBase, extended: Path, out: Path) -> int:
    """Write the model with the vocabulary of another tokenizer, and the special tokens of its own. Returns how many tokens are new."""
    from tokenizers import Tokenizer

    new = embeddings.resize(model, tokenizer.backend_tokenizer, Tokenizer.from_file(str(extended / "tokenizer.json")))
    model.save_pretrained(out)
    tokenizer_files.save(tokenizer, out)
    shutil.copyfile(extended / "tokenizer.json", out / "tokenizer.json")
    return new


if __name__ == "__main__":
    main(import_model)
