"""Mutated requests by schemathesis, run in its own environment: reads a JSON job on standard input, prints a JSON object of what came of them.

The job: `url` of a server, its `token`, the `number` of requests, and a `seed`. Requests are made from the server's own OpenAPI, half of them as
it says and half not. The result counts them by status, and holds the first of those that were not answered as the description says: `server`
errors, a status, content type or body that is `undescribed`, and requests that are wrong and were `accepted`.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from typing import Any

import hypothesis  # type: ignore[import-not-found,unused-ignore]
import requests  # type: ignore[import-untyped,unused-ignore]
import schemathesis  # type: ignore[import-not-found]
from schemathesis.checks import not_a_server_error  # type: ignore[import-not-found]
from schemathesis.core.failures import FailureGroup  # type: ignore[import-not-found]
from schemathesis.generation import GenerationMode  # type: ignore[import-not-found]
from schemathesis.specs.openapi import checks  # type: ignore[import-not-found]

SHOWN = 5  # of each fault
# requests of one kind in a row
ROUNDS = {"/v1/chat/completions": 30, "/v1/completions": 100, "/trace": 50, "/v1/models/{name}": 30}
FEW = 3  # of those without anything to vary
FAULTS = {
    "server": [not_a_server_error],
    "undescribed": [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance],
    "accepted": [checks.negative_data_rejection],
}


class Fuzzer:
    """A session with a server, and what came of its requests."""

    def __init__(self, job: dict[str, Any]):
        self.url, self.headers = job["url"], {"Authorization": f"Bearer {job['token']}"}
        self.left, self.seed = job["number"], job["seed"]
        self.session = requests.Session()
        self.statuses: Counter[str] = Counter()
        self.faults: dict[str, list[str]] = {name: [] for name in FAULTS}
        self.counts: Counter[str] = Counter()

    def ask(self, case: Any) -> None:
        """Send one request, and judge its answer."""
        answer = case.call(base_url=self.url, headers=self.headers, session=self.session, timeout=300)
        self.left -= 1
        self.statuses[f"{case.method} {case.path} {answer.status_code}"] += 1
        for name, judges in FAULTS.items():
            try:
                case.validate_response(answer, checks=judges, headers=self.headers)
            except FailureGroup as group:
                self.counts[name] += 1
                if len(self.faults[name]) < SHOWN:
                    what = "; ".join(f"{type(one).__name__}: {one}" for one in group.exceptions)
                    self.faults[name].append(
                        f"{case.method} {case.path} {str(case.body)[:400]} → {answer.status_code} {what[:400]}"
                    )

    def round(self, operation: Any, mode: Any) -> None:
        """Some requests to one operation."""
        self.seed += 1

        @hypothesis.seed(self.seed)
        @hypothesis.settings(
            max_examples=min(ROUNDS.get(operation.path, FEW), self.left),
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            if self.left > 0:
                self.ask(case)

        with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # of some places there is nothing wrong to say
            send()


def main() -> None:
    fuzzer = Fuzzer(json.load(sys.stdin))
    schema = schemathesis.openapi.from_url(f"{fuzzer.url}/openapi.json", headers=fuzzer.headers)
    operations = [result.ok() for result in schema.get_all_operations()]
    began = time.monotonic()
    while fuzzer.left > 0:
        for operation in operations:
            for mode in GenerationMode:
                if fuzzer.left > 0 and not (mode.is_negative and not operation.body and not operation.path_parameters):
                    fuzzer.round(operation, mode)
        print(f"{fuzzer.left:,} requests left after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    json.dump({"statuses": dict(sorted(fuzzer.statuses.items())), "counts": dict(fuzzer.counts), **fuzzer.faults}, sys.stdout)


if __name__ == "__main__":
    main()
