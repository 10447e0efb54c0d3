#!/usr/bin/env bash
# Two packages that pip calls compatible, and every schedule of Prefect is silently dead.
#
# Expected: prefect 3.8.8 allows SQLAlchemy below 3 and pip check has nothing to say, so cron schedules work.
# Happens:  with SQLAlchemy 2.1 no scheduled run is ever inserted: the scheduler's statement raises "Can't evaluate bulk DML
#   statement". The scheduler is a background service of the server, so all that is left of it is a traceback in the server's
#   log. Flow, deployment and schedule are created as usual. With SQLAlchemy 2.0.58 the same call inserts the coming runs.
# Versions: prefect 3.8.8 with SQLAlchemy 2.1.9 and with 2.0.58, on SQLite.
# Matters:  a plain install takes the newest SQLAlchemy, and a weekly re-training is missed only after a week.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
cd "$work"
cat > schedule.py <<'PY'
import asyncio
import sys
from importlib.metadata import requires

import prefect
import sqlalchemy
from prefect.server import models, schemas
from prefect.server.database import provide_database_interface

print("prefect", prefect.__version__, "SQLAlchemy", sqlalchemy.__version__,
      "allowed:", *(line for line in requires("prefect") if line.lower().startswith("sqlalchemy")))


async def main():
    database = provide_database_interface()
    await database.create_db()
    async with database.session_context(begin_transaction=True) as session:
        flow = await models.flows.create_flow(session=session, flow=schemas.core.Flow(name="retrain"))
        nightly = schemas.core.DeploymentSchedule(schedule=schemas.schedules.CronSchedule(cron="0 3 * * *"), active=True)
        deployment = await models.deployments.create_deployment(
            session=session, deployment=schemas.core.Deployment(name="nightly", flow_id=flow.id, schedules=[nightly]))
    try:
        async with database.session_context(begin_transaction=True) as session:
            inserted = await models.deployments.schedule_runs(session=session, deployment_id=deployment.id)
    except sqlalchemy.exc.InvalidRequestError as error:
        print("   ", type(error).__name__ + ":", error)
        return "Can't evaluate bulk DML" in str(error)
    print("    runs inserted:", len(inserted))
    return len(inserted) > 0


wanted = sys.argv[1] == "raises"
worked = asyncio.run(main())
assert worked and (sqlalchemy.__version__ >= "2.1") == wanted
PY
export DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_HOME="$work/home" PREFECT_LOGGING_LEVEL=CRITICAL
for version in 2.1.9 2.0.58; do
  "$work/venv/bin/pip" install --quiet prefect==3.8.8 fastapi==0.150.0 pydantic==2.14.3 SQLAlchemy==$version
  "$work/venv/bin/pip" check
  PREFECT_API_DATABASE_CONNECTION_URL="sqlite+aiosqlite:///$work/$version.db" \
    "$work/venv/bin/python" schedule.py "$([ $version = 2.1.9 ] && echo raises || echo inserts)"
done
