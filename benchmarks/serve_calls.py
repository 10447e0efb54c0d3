"""Calls of the real openai client, run in its own environment: reads a JSON job on standard input, prints a JSON list of answers.

The job: `base_url`, `token`, and `calls`, each with `api` (chat or completions) and the arguments of the client's `create`. An answer is
{"texts": a text for each choice, "ends": its finish reasons, "tokens": completion tokens}, or {"error": class, "status": …, "code": …}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai  # type: ignore[import-not-found]


def call(client: Any, api: str, fields: dict[str, Any]) -> dict[str, Any]:
    create = client.chat.completions.create if api == "chat" else client.completions.create
    try:
        said = create(**fields)
        if not fields.get("stream"):
            texts = [choice.message.content if api == "chat" else choice.text for choice in said.choices]
            return {
                "texts": texts,
                "ends": [choice.finish_reason for choice in said.choices],
                "tokens": said.usage.completion_tokens,
            }
        texts, ends, tokens = {}, {}, 0
        for chunk in said:
            for choice in chunk.choices:
                new = choice.delta.content if api == "chat" else choice.text
                texts[choice.index] = texts.get(choice.index, "") + (new or "")
                ends[choice.index] = choice.finish_reason or ends.get(choice.index)
            tokens = chunk.usage.completion_tokens if chunk.usage else tokens
        return {"texts": [texts[at] for at in sorted(texts)], "ends": [ends[at] for at in sorted(ends)], "tokens": tokens}
    except openai.APIStatusError as refused:
        return {"error": type(refused).__name__, "status": refused.status_code, "code": refused.code}


def main() -> None:
    job = json.load(sys.stdin)
    client = openai.OpenAI(base_url=job["base_url"], api_key=job["token"], max_retries=0, timeout=600)
    listed = [model.id for model in client.models.list()]
    answers = [call(client, one.pop("api"), one) for one in job["calls"]]
    json.dump({"models": listed, "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main()
