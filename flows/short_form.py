"""The short form of a recipe: the few settings that most runs differ by, and the changes of the recipe that they stand for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.schema import SchemaExtension
from flows.source import Source
from tasks.data.uses import Use
from tasks.formats.registry import Format

AS_RECIPE = "as in the recipe"  # the choice that changes nothing

Size = Annotated[str, SchemaExtension(lambda: {"enum": _sizes()})]
Device = Literal["as in the recipe", "auto", "cpu", "cuda", "mps"]
Tokens = Annotated[str, Field(pattern=r"^$|^\d[\d_]*(\.\d+)?([eE]\+?\d+)?[kKmMgGbB]?$")]
RunRecipeName = Annotated[str, Field(pattern=r"^$|^[a-z0-9][a-z0-9.-]{0,63}$")]


class Files(BaseModel):
    """A source in the short form: files, how they are read, and what their rows are used for."""

    model_config = ConfigDict(extra="forbid", title="Source")

    format: Format = Field(title="Format", description=Source.model_fields["format"].description)
    path: str = Field(title="Files", description=Source.model_fields["path"].description)
    use: list[Use] = Field(title="Uses", min_length=1, description=Source.model_fields["use"].description)


Sources = tuple[Files, ...]


def _sizes() -> list[str]:
    from models import presets

    return [AS_RECIPE, *presets.names()]


def changes_of(fields: Mapping[str, Any]) -> list[str]:
    """The changes of a recipe, each as `field=value`, that the fields of a short form stand for."""
    changes = [f"{name}={json.dumps(fields[name], ensure_ascii=False)}" for name in ("name", "raw") if fields.get(name)]
    if sources := fields.get("sources"):
        changes.append(f"sources={json.dumps(_named(sources), ensure_ascii=False)}")
    if fields.get("size", AS_RECIPE) != AS_RECIPE:
        changes.append(f"pretrain.preset={fields['size']}")
    if tokens := fields.get("tokens"):
        changes += ["pretrain.epochs=null", f"pretrain.tokens={tokens}"]
    if fields.get("device", AS_RECIPE) != AS_RECIPE:
        changes.append(f"resources.device={fields['device']}")
    return changes


def _named(sources: Any) -> dict[str, dict[str, Any]]:
    """Sources by name: that of their files without what a pattern or an ending adds, else of their format, and a number where two are alike."""
    named: dict[str, dict[str, Any]] = {}
    seen: Counter[str] = Counter()
    for source in sources:
        values = source.model_dump() if isinstance(source, BaseModel) else dict(source)
        stem = Path(str(values.get("path", ""))).name.partition(".")[0].lower()
        plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem)[:40].strip("-")
        name = plain or str(values.get("format", "source"))
        seen[name] += 1
        named[name if seen[name] == 1 else f"{name}-{seen[name]}"] = values
    return named
