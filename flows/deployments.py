"""The deployments of `prefect.yaml`, applied to a server with its work pool, queues and automations.

They are applied again on every start. What an operator set in the UI stays as it is: schedules, the switches of automations, blocks, paused queues.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from tasks.processes.runner import importable

if TYPE_CHECKING:
    from prefect.client.schemas.objects import DeploymentSchedule

FILE = Path(__file__).with_name("prefect.yaml")


def declared() -> dict[str, Any]:
    """The contents of `prefect.yaml`."""
    return yaml.safe_load(FILE.read_text("utf-8"))


def apply(env: dict[str, str], timezone: str = "") -> list[str]:
    """Make the server of this environment hold what is declared. Returns the names of the deployments (flow/deployment).

    New schedules are in the time zone, which is this machine's where none is given; one that is given holds for the others, too. Raises
    `RuntimeError` with what Prefect said where it could not.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    declaration = declared()
    settings = {PREFECT_API_URL: env["PREFECT_API_URL"], PREFECT_API_AUTH_STRING: env.get("PREFECT_API_AUTH_STRING")}
    with temporary_settings(settings):
        asyncio.run(_apply_pools_and_automations(declaration))
        before = asyncio.run(_schedules())
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(FILE.resolve())]
        result = subprocess.run(command, env=importable(env), capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"the deployments of {FILE} could not be applied:\n{result.stdout}{result.stderr}")
        names = [deployment["name"] for deployment in declaration["deployments"]]
        return asyncio.run(_restore_schedules(before, names, timezone))


async def _apply_pools_and_automations(declaration: dict[str, Any]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.events.schemas.automations import AutomationCore
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    from flows import notifications

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
        cores = [AutomationCore.model_validate(automation) for automation in declaration["automations"]]
        for core in [*cores, *await notifications.apply(client, declaration)]:
            if existing := await client.read_automations_by_name(core.name):
                await client.update_automation(existing[0].id, core.model_copy(update={"enabled": existing[0].enabled}))
            else:
                await client.create_automation(core)


def zone(timezone: str) -> str:
    """The name of a time zone, of this machine's where none is given. Raises `ValueError` where there is no such zone."""
    from tzlocal import get_localzone_name

    try:
        return ZoneInfo(timezone or get_localzone_name() or "UTC").key
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"--timezone {timezone}: no such time zone; name one as Asia/Shanghai or Europe/Berlin") from None


async def _schedules() -> dict[tuple[str, str], DeploymentSchedule]:
    """All schedules, by (deployment, slug)."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        deployments = await client.read_deployments()
        return {(d.name, schedule.slug): schedule for d in deployments for schedule in d.schedules if schedule.slug}


async def _restore_schedules(before: dict[tuple[str, str], DeploymentSchedule], names: list[str], timezone: str) -> list[str]:
    """Set schedules back to what they were, and new ones into their time zone. Returns the deployments' full names."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        deployments = [d for d in await client.read_deployments() if d.name in names]
        for deployment in deployments:
            for schedule in deployment.schedules:
                was = before.get((deployment.name, schedule.slug or ""), schedule)
                when = was.schedule
                if timezone or was is schedule:
                    when = when.model_copy(update={"timezone": zone(timezone)})
                if (was.active, when) != (schedule.active, schedule.schedule):
                    await client.update_deployment_schedule(
                        deployment.id,
                        schedule.id,
                        active=was.active,
                        schedule=when,
                        parameters=schedule.parameters,
                        slug=schedule.slug,
                    )
        flows = {d.flow_id: (await client.read_flow(d.flow_id)).name for d in deployments}
        return sorted((f"{flows[d.flow_id]}/{d.name}" for d in deployments), key=lambda name: names.index(name.split("/")[1]))
