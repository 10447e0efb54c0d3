"""Ten thousand requests mutated by schemathesis, sent to `hanlin serve` by several clients at once."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bench import ROOT, peers
from benchmarks.serve_models import TOKEN, random_model, serving

REQUESTS, CLIENTS = 10_000, 8
CONTEXT = 48  # tokens: the question is what is refused, so answers are short
FAULTS = ("server", "undescribed", "accepted")


def fuzz(home: Path, model: Path) -> dict[str, Any]:
    """The statuses of requests made from the server's own OpenAPI, half of them wrong; a small model with random weights answers the others."""
    folder = random_model(home / "fuzzed", model, "llama", CONTEXT)
    with serving([f"model={folder}"], "--slots", "8", "--queue", "24", token=TOKEN) as (address, _):
        jobs = [
            {"url": address, "token": TOKEN, "number": REQUESTS // CLIENTS, "seed": client * 1000} for client in range(CLIENTS)
        ]
        command = [str(peers("fuzzers")), str(ROOT / "benchmarks" / "serve_mutations.py")]
        running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in jobs]
        for process, job in zip(running, jobs, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(job))
            process.stdin.close()
            process.stdin = None
        found = [json.loads(process.communicate()[0]) for process in running]
        alive = httpx.get(f"{address}/health").status_code == 200
    statuses: Counter[str] = Counter()
    for one in found:
        statuses.update(one["statuses"])
    faults = {name: [fault for one in found for fault in one[name]] for name in FAULTS}
    counts = {name: sum(one["counts"].get(name, 0) for one in found) for name in FAULTS}
    for fault in [one for each in faults.values() for one in each]:
        print(fault)
    bars = {
        "10,000 requests": statuses.total() == REQUESTS,
        "no 5xx": not counts["server"] and not any(int(name.split()[-1]) >= 500 for name in statuses),
        "every answer as described": not counts["undescribed"],
        "nothing wrong accepted": not counts["accepted"],
        "still well": alive,
    }
    return {"requests": statuses.total(), "faults": counts, "statuses": dict(sorted(statuses.items())), "bars": bars}
