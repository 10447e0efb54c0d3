"""Prefect with the packages that are pinned: what a schedule promises becomes runs. (With SQLAlchemy 2.1 Prefect 3.8 plans none, and says so in the
server's log only.)"""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def ask(api: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(f"{api}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def test_a_schedule_plans_runs(prefect_api):
    flow = ask(prefect_api, "flows/", {"name": "weekly"})["id"]
    weekly = {"schedule": {"cron": "0 3 * * 1", "timezone": "Asia/Shanghai"}, "active": True, "parameters": {"dry_run": True}}
    body = {"name": "weekly", "flow_id": flow, "entrypoint": "flows.upkeep:upkeep", "schedules": [weekly]}
    deployment = ask(prefect_api, "deployments/", body)["id"]
    ask(prefect_api, f"deployments/{deployment}/schedule", {"min_runs": 3})
    planned = ask(prefect_api, "flow_runs/filter", {"flows": {"id": {"any_": [flow]}}})
    assert len(planned) >= 3 and {run["state_type"] for run in planned} == {"SCHEDULED"}
    assert all(run["parameters"] == {"dry_run": True} for run in planned)
