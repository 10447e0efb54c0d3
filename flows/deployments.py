"""Applies `prefect.yaml` to a server: the work pool with its queues, the automations, and (through `prefect deploy`) the deployments.

Applied again on every start. What an operator switched on or off in the UI stays so: schedules, automations, paused queues.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tasks.processes.runner import importable

FILE = Path(__file__).with_name("prefect.yaml")


def declared() -> dict[str, Any]:
    """What `prefect.yaml` says."""
    return yaml.safe_load(FILE.read_text("utf-8"))


def apply(env: dict[str, str]) -> list[str]:
    """Make the server of this environment hold what is declared; gives the names of the deployments (flow/deployment).

    Raises `RuntimeError` with what Prefect said where it could not.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    what = declared()
    settings = {PREFECT_API_URL: env["PREFECT_API_URL"], PREFECT_API_AUTH_STRING: env.get("PREFECT_API_AUTH_STRING")}
    with temporary_settings(settings):
        asyncio.run(_pools_and_automations(what))
        active = asyncio.run(_schedules())
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(FILE.resolve())]
        done = subprocess.run(command, env=importable(env), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the deployments of {FILE} could not be applied:\n{done.stdout}{done.stderr}")
        return asyncio.run(_settle(active, [deployment["name"] for deployment in what["deployments"]]))


async def _pools_and_automations(what: dict[str, Any]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.events.schemas.automations import AutomationCore
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    async with get_client() as client:
        for pool in what["work_pools"]:
            try:
                await client.read_work_pool(pool["name"])
                await client.update_work_pool(pool["name"], WorkPoolUpdate(description=pool["description"]))
            except ObjectNotFound:
                template = ProcessWorker.get_default_base_job_template()
                given = {key: pool[key] for key in ("name", "type", "description")}
                await client.create_work_pool(WorkPoolCreate(**given, base_job_template=template))
            there = {queue.name: queue for queue in await client.read_work_queues(work_pool_name=pool["name"])}
            for queue in pool["queues"]:
                if queue["name"] in there:
                    await client.update_work_queue(there[queue["name"]].id, **{k: v for k, v in queue.items() if k != "name"})
                else:
                    await client.create_work_queue(**queue, work_pool_name=pool["name"])
        for automation in what["automations"]:
            wanted = AutomationCore.model_validate(automation)
            there = await client.read_automations_by_name(automation["name"])
            if there:
                await client.update_automation(there[0].id, wanted.model_copy(update={"enabled": there[0].enabled}))
            else:
                await client.create_automation(wanted)


async def _schedules() -> dict[tuple[str, str], bool]:
    """(deployment, slug) → whether the schedule is on."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        found = await client.read_deployments()
        return {(d.name, schedule.slug): schedule.active for d in found for schedule in d.schedules if schedule.slug}


async def _settle(active: dict[tuple[str, str], bool], names: list[str]) -> list[str]:
    """Switch schedules back to what they were; the deployments' full names."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        found = [d for d in await client.read_deployments() if d.name in names]
        for deployment in found:
            for schedule in deployment.schedules:
                before = active.get((deployment.name, schedule.slug or ""), schedule.active)
                if before != schedule.active:
                    await client.update_deployment_schedule(deployment.id, schedule.id, active=before)
        flows = {d.flow_id: (await client.read_flow(d.flow_id)).name for d in found}
        return sorted((f"{flows[d.flow_id]}/{d.name}" for d in found), key=lambda name: names.index(name.split("/")[1]))
