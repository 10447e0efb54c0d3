"""Requests that a recipe can make: a Wikimedia dump, a dataset of the hub, or plain URLs as a `download:`, and a model of the hub as its `base:`.

Each names what it wants and which state of it. The state may move (`latest`, a branch, whatever a URL serves today); its *pin* is what it is
now: a dump's date, a commit, a URL's ETag. `pinned()` is the pin where the recipe states it, so that nobody has to ask the network.
"""

from __future__ import annotations

import datetime
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tasks.artifacts.stage import Identity

Pin = dict[str, str]
LATEST = "latest"
MAIN = "main"
PARTS = "articlesmultistreamdump"
# of what the hub keeps; a repetition of all letters of Unicode, {1,96}, would take a tenth of a second to compile, wherever a field has it
NAME = r"^[A-Za-z0-9_.-]{1,96}(/[A-Za-z0-9_.-]{1,96})?$"


def _compact(value: Any) -> Any:
    """YAML reads 20261101 as a number and 2026-11-01 as a date."""
    if isinstance(value, datetime.date):
        return value.strftime("%Y%m%d")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Revision = Annotated[str, BeforeValidator(_compact), Field(pattern=r"^[\w./-]+$", max_length=200)]  # a branch, a tag or a commit


class Dump(Identity):
    """Files of one job of a Wikimedia dump."""

    dump: str = Field(
        pattern=r"^[a-z][a-z0-9_]{1,62}$", description="Name of the wiki as dumps.wikimedia.org spells it, such as zhwiki"
    )
    date: Annotated[str, BeforeValidator(_compact)] = Field(
        default=LATEST,
        pattern=r"^(latest|20\d{6})$",
        description="latest: the newest date whose job is done; or a date, such as 20261101",
    )
    job: str = Field(
        default=PARTS,
        pattern=r"^[a-z0-9]+$",
        description="Job of the dump: articlesmultistreamdump (many files where the wiki is big), articlesmultistreamdumprecombine (one) …",
    )
    files: list[str] = Field(
        default=[], description="Only files of the job with such names, * and ? as wildcards; empty: all pages"
    )

    def pinned(self) -> Pin | None:
        """The pin that the recipe states, None where upstream has to be asked."""
        return None if self.date == LATEST else {"date": self.date}

    def moving(self) -> Dump:
        """The same without its state: `latest` and the date it stands for ask for the same thing."""
        return self.model_copy(update={"date": LATEST})

    def __str__(self) -> str:
        return f"the dump {self.dump}"


class Repository(Identity):
    """Something that the hub keeps (huggingface.co, or the mirror that HF_ENDPOINT names), in one of its states."""

    revision: Revision = Field(default=MAIN, description="Branch, tag or commit (40 hexadecimal digits: never looked up)")

    @property
    def place(self) -> str:
        """Its shelf and its name, as the hub's API spells them."""
        raise NotImplementedError

    def pinned(self) -> Pin | None:
        """The commit that the recipe states, None where the hub has to be asked."""
        return {"commit": self.revision} if re.fullmatch("[0-9a-f]{40}", self.revision) else None

    def moving(self) -> Self:
        """The same without its state."""
        return self.model_copy(update={"revision": MAIN})


class Hub(Repository):
    """Files of one dataset of the hub."""

    hub: str = Field(pattern=NAME, description="The dataset's name, such as BelleGroup/train_2M_CN")
    files: list[str] = Field(
        default=[],
        description="Paths in the dataset, * and ? as wildcards (they match / too); empty: all but cards, scripts and dot files",
    )

    @property
    def place(self) -> str:
        return f"datasets/{self.hub}"

    def __str__(self) -> str:
        return f"the dataset {self.hub}"


class Model(Repository):
    """One model of the hub: its configuration, its tokenizer, and its weights as safetensors."""

    model: str = Field(pattern=NAME, description="The model's name, such as Qwen/Qwen3-0.6B-Base")

    @property
    def place(self) -> str:
        return f"models/{self.model}"

    def __str__(self) -> str:
        return f"the model {self.model}"


class Link(Identity):
    """One file at a URL."""

    url: str = Field(pattern=r"^https?://[^/\s@]+/\S*$", description="http or https, without a password")
    sha256: str = Field(
        default="", pattern=r"^([0-9a-fA-F]{64})?$", description="What the file must hash to; empty: whatever is there"
    )
    name: str = Field(
        default="",
        pattern=r"^([^/\\\s][^/\\]*)?$",
        max_length=201,
        description="File name to save it as; empty: the last part of the URL",
    )

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        return {"url": data} if isinstance(data, str) else data

    @property
    def file(self) -> str:
        """The name it is saved under."""
        return self.name or PurePosixPath(unquote(urlsplit(self.url).path)).name


class Urls(Identity):
    """Plain files."""

    urls: list[Link] = Field(min_length=1, description="URLs, or {url, sha256, name}")

    @field_validator("urls")
    @classmethod
    def _names(cls, links: list[Link]) -> list[Link]:
        seen: dict[str, str] = {}
        problems = []
        for link in links:
            if link.file in ("", ".", ".."):
                problems.append(f"{link.url} ends in no file name; give it a name")
            elif link.file in seen:
                problems.append(f"{link.url} and {seen[link.file]} would both be saved as {link.file}; give one of them a name")
            seen.setdefault(link.file, link.url)
        if problems:
            raise ValueError("; ".join(problems))
        return links

    def pinned(self) -> Pin | None:
        """The hashes that the recipe states, None where one of the files has none."""
        hashes = {link.file: f"sha256:{link.sha256.lower()}" for link in self.urls if link.sha256}
        return hashes if len(hashes) == len(self.urls) else None

    def moving(self) -> Urls:
        """The same without hashes."""
        return self.model_copy(update={"urls": [link.model_copy(update={"sha256": ""}) for link in self.urls]})

    def __str__(self) -> str:
        return self.urls[0].url if len(self.urls) == 1 else f"{len(self.urls)} URLs ({self.urls[0].url} …)"


Request = Dump | Hub | Model | Urls
# what a source can download
REQUESTS: dict[str, type[Identity]] = {"dump": Dump, "hub": Hub, "urls": Urls}


def request_kind(value: Any) -> str | None:
    """The name in `REQUESTS` of a mapping or an object; None where that is not clear."""
    if isinstance(value, dict):
        names = [name for name in REQUESTS if name in value]
        return names[0] if len(names) == 1 else None
    return next((name for name, model in REQUESTS.items() if isinstance(value, model)), None)
