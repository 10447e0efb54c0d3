"""The deployments of `prefect.yaml`, applied to a server with its work pool, queues and automations.

They are applied again on every start. An operator's switches in the UI stay as they are: schedules, automations, paused queues.
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
    """The contents of `prefect.yaml`."""
    return yaml.safe_load(FILE.read_text("utf-8"))


def apply(env: dict[str, str]) -> list[str]:
    """Make the server of this environment hold what is declared. Returns the names of the deployments (flow/deployment).

    Raises `RuntimeError` with what Prefect said where it could not.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    declaration = declared()
    settings = {PREFECT_API_URL: env["PREFECT_API_URL"], PREFECT_API_AUTH_STRING: env.get("PREFECT_API_AUTH_STRING")}
    with temporary_settings(settings):
        asyncio.run(_apply_pools_and_automations(declaration))
        active = asyncio.run(_schedules())
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(FILE.resolve())]
        result = subprocess.run(command, env=importable(env), capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"the deployments of {FILE} could not be applied:\n{result.stdout}{result.stderr}")
        return asyncio.run(_restore_schedules(active, [deployment["name"] for deployment in declaration["deployments"]]))


async def _apply_pools_and_automations(declaration: dict[str, Any]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.events.schemas.automations import AutomationCore
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    async with get_client() as client:
        for pool in declaration["work_pools"]:
            try:
                await client.read_work_pool(pool["name"])
                await client.update_work_pool(pool["name"], WorkPoolUpdate(description=pool["description"]))
            except ObjectNotFound:
                template = ProcessWorker.get_default_base_job_template()
                facts = {key: pool[key] for key in ("name", "type", "description")}
                await client.create_work_pool(WorkPoolCreate(**facts, base_job_template=template))
            queues = {queue.name: queue for queue in await client.read_work_queues(work_pool_name=pool["name"])}
            for queue in pool["queues"]:
                if queue["name"] in queues:
                    await client.update_work_queue(queues[queue["name"]].id, **{k: v for k, v in queue.items() if k != "name"})
                else:
                    await client.create_work_queue(**queue, work_pool_name=pool["name"])
        for automation in declaration["automations"]:
            core = AutomationCore.model_validate(automation)
            existing = await client.read_automations_by_name(automation["name"])
            if existing:
                await client.update_automation(existing[0].id, core.model_copy(update={"enabled": existing[0].enabled}))
            else:
                await client.create_automation(core)


async def _schedules() -> dict[tuple[str, str], bool]:
    """The switches of all schedules: (deployment, slug) → on or off."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        deployments = await client.read_deployments()
        return {(d.name, schedule.slug): schedule.active for d in deployments for schedule in d.schedules if schedule.slug}


async def _restore_schedules(active: dict[tuple[str, str], bool], names: list[str]) -> list[str]:
    """Switch schedules back to what they were. Returns the deployments' full names."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        deployments = [d for d in await client.read_deployments() if d.name in names]
        for deployment in deployments:
            for schedule in deployment.schedules:
                before = active.get((deployment.name, schedule.slug or ""), schedule.active)
                if before != schedule.active:
                    await client.update_deployment_schedule(deployment.id, schedule.id, active=before)
        flows = {d.flow_id: (await client.read_flow(d.flow_id)).name for d in deployments}
        return sorted((f"{flows[d.flow_id]}/{d.name}" for d in deployments), key=lambda name: names.index(name.split("/")[1]))
