#!/usr/bin/env bash
# Switching a Prefect schedule off and on again empties its parameters.
#
# Expected: an update of a schedule changes the fields that it names. The client sends {"active": false} and nothing else.
# Happens:  the parameters that the schedule overrides are {} afterwards, with status 204 and no word, so the next run that it
#   starts has the deployment's own parameters. An update of the cron expression alone does the same. Slug and expression stay.
# Versions: prefect 3.8.8.
# Matters:  a nightly run for one size, paused for a weekend from Python, goes on as a run of the default size.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet prefect==3.8.8 pydantic==2.14.3 fastapi==0.150.0 SQLAlchemy==2.0.58
cd "$work"
DO_NOT_TRACK=1 PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=300 PREFECT_HOME="$work/home" PREFECT_SERVER_ANALYTICS_ENABLED=false "$work/venv/bin/python" - <<'PY'
import asyncio

import prefect
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule

print("prefect", prefect.__version__)
PARAMETERS = {"size": "small", "days": 1}


async def main():
    async with get_client() as client:
        flow = await client.create_flow_from_name("retrain")
        cron = CronSchedule(cron="0 3 * * *")
        nightly = DeploymentScheduleCreate(schedule=cron, parameters=PARAMETERS, slug="nightly", active=True)
        deployment = await client.create_deployment(flow_id=flow, name="nightly", schedules=[nightly])

        async def seen(when):
            [schedule] = await client.read_deployment_schedules(deployment)
            print(f"{when}: active {schedule.active}, cron {schedule.schedule.cron}, parameters {schedule.parameters}")
            return schedule

        made = await seen("as made")
        assert made.parameters == PARAMETERS
        await client.update_deployment_schedule(deployment, made.id, active=False)
        await client.update_deployment_schedule(deployment, made.id, active=True)
        switched = await seen("off and on")
        assert (switched.active, switched.slug, switched.parameters) == (True, "nightly", {})


asyncio.run(main())
PY
