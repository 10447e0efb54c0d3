"""Extensions of the JSON schemas by which the Prefect UI draws a form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema


class SchemaExtension:
    """An annotation that extends a parameter's JSON schema with values computed when the schema is generated."""

    def __init__(self, more: Callable[[], dict[str, Any]]):
        self.more = more

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), **self.more()}
