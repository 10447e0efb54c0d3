"""The recipe section of a source: its files or downloads, their format, and what their rows are used for."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from flows import validation
from tasks.data.uses import Use
from tasks.formats.registry import Format
from tasks.publication.licences import UNKNOWN, LicenceText
from tasks.remote.request import Dump, Hub, Urls, request_kind

Download = Annotated[
    Annotated[Dump, Tag("dump")] | Annotated[Hub, Tag("hub")] | Annotated[Urls, Tag("urls")],
    Discriminator(
        request_kind,
        custom_error_type="download",
        custom_error_message="needs one of dump: (a Wikimedia dump), hub: (a dataset of the hub), urls: (plain files)",
    ),
]


def _spelled(value: Any) -> Any:
    """YAML reads 2018-11-01 as a date and 2018 as a number."""
    return str(value) if isinstance(value, datetime.date) or (isinstance(value, int) and not isinstance(value, bool)) else value


class Source(BaseModel):
    """One source of rows: files of one format, and the uses of their rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format = Field(
        title="Format",
        description="Format of the files' content, whatever their names end in; it selects the reader (`hanlin sniff FILE` names it)",
    )
    path: str = Field(
        default="",
        title="Files",
        description="Files to read, as a path below the folder of the raw files, or an absolute path; * and ** are wildcards",
    )
    download: Download | None = Field(
        default=None,
        title="Download",
        description="In place of files that are there: a Wikimedia dump, a dataset of the Hugging Face hub, or URLs. Downloads are kept in the store",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        title="Columns",
        description="Fields that the files call by other names, as `name of the format: name in the files`, such as `answer: reply`. For formats of "
        "records, and for the turns inside them",
    )
    use: list[Use] = Field(
        title="Uses",
        description="Uses of the rows: pretrain; text2text (pretraining of T5, where an article answers its title); sft (fine-tuning); prompts "
        "(questions for DPO, whose answer is the better one); pairs (better and worse answers for DPO); extract (triples to learn to extract); "
        "evaluate (for evaluation only, never trained on)",
    )
    rank: int = Field(
        default=0,
        ge=0,
        le=1000,
        title="Rank",
        description="Order of the sources, lowest first, for forms, which keep no order; equal ranks stay in the order of the file. Of duplicate "
        "rows, the first source's is kept",
    )
    simplify: bool = Field(
        default=True, title="Simplify", description="Convert Traditional Chinese characters to Simplified ones"
    )
    tables: Literal["drop", "text"] = Field(
        default="drop",
        title="Tables",
        description="Tables of a wiki. drop: leave them out; text: write each row as a line, each cell after its column's header",
    )
    infoboxes: Literal["drop", "facts"] = Field(
        default="drop",
        title="Infoboxes",
        description="Infoboxes of a wiki. drop: leave them out; facts: write a line for each fact, as 名称：值",
    )
    same_title: float = Field(
        default=0.9,
        ge=0,
        le=1,
        title="Same title",
        description="For webtext, baike and medical: similarity (0 to 1) of a title and the question below it from which the two count as the same, "
        "so that only the longer one is used",
    )
    cut: Literal["file", "blank line", "line"] = Field(
        default="file",
        title="Cut",
        description="For plain text: what is one document. file: the whole file; blank line: what stands between blank lines; line: each line. One "
        "of more than filter.max_document characters becomes several, cut at chapters, paragraphs or sentences",
    )
    tolerate_truncation: bool = Field(
        default=False,
        title="Tolerate truncation",
        description="Use the whole rows or pages of a file that is cut, instead of stopping with an error. A Parquet file without its end has none",
    )
    broken: Literal["fail", "skip"] = Field(
        default="fail",
        title="Broken files",
        description="Files that cannot be read. fail: end the run, once every source has been tried, and name them all; skip: go on without them, "
        "and name them in the report",
    )

    licence: LicenceText = Field(
        default=UNKNOWN,
        max_length=300,
        title="Licence",
        description="Licence of the rows, for model cards: an SPDX expression such as CC-BY-SA-4.0 OR GFDL-1.3-or-later, an identifier of the hub, "
        "or words of your own. Changes no result. The sample corpus has Hanlin's own",
    )
    url: str = Field(
        default="",
        pattern=r"^(https?://[^/\s@]+/\S*)?$",
        max_length=500,
        title="Address",
        description="Page or file that the files came from, for model cards; a download says it by itself",
    )
    date: Annotated[str, BeforeValidator(_spelled)] = Field(
        default="",
        pattern=r"^(\d{4}(-\d\d(-\d\d)?)?)?$",
        title="Date",
        description="Date of the files, for model cards: 2018, 2018-11 or 2018-11-01; a download says it by itself",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        if problem := validation.origin_problem(self.path, self.download):
            raise ValueError(problem)
        if self.download and (self.url or self.date):
            raise ValueError("has download:, which says where and of when the files are; leave out url: and date:")
        return self
