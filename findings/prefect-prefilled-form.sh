#!/usr/bin/env bash
# Prefilling one field of a Prefect form removes its limits, for people and for code.
#
# Expected: Model.with_initial_data(steps=500) is the same model with a default, so that a form opens filled in; what the model
#   refuses stays refused.
# Happens:  the prefilled field loses all that Field() said of it (ge, le, description), in the JSON schema from which the form
#   is made and in validation: 5000 is accepted where the model says at most 1000, and the result is an instance of the model
#   that forbids it. Fields that are not prefilled keep theirs.
# Versions: prefect 3.8.8, pydantic 2.14.3. No server is needed to see it.
# Matters:  with_initial_data is the way to ask an operator (pause_flow_run, suspend_flow_run), and prefilled figures are the
#   ones that get edited.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet prefect==3.8.8 pydantic==2.14.3 fastapi==0.150.0 SQLAlchemy==2.0.58
cd "$work"
DO_NOT_TRACK=1 PREFECT_HOME="$work/home" PREFECT_SERVER_ANALYTICS_ENABLED=false "$work/venv/bin/python" - <<'PY'
import json

import prefect
import pydantic
from prefect.input import RunInput
from pydantic import Field

print("prefect", prefect.__version__, "pydantic", pydantic.VERSION)


class Approval(RunInput):
    steps: int = Field(ge=1, le=1000, description="how many steps more")
    note: str = Field(default="", max_length=5)


prefilled = Approval.with_initial_data(steps=500)
for model in (Approval, prefilled):
    print(json.dumps(model.model_json_schema()["properties"]))


def accepts(model, **values):
    try:
        model(**values)
    except pydantic.ValidationError:
        return False
    return True


print("steps=5000 accepted:", accepts(Approval, steps=5000), "as written,", accepts(prefilled, steps=5000), "prefilled")
assert not accepts(Approval, steps=5000) and accepts(prefilled, steps=5000)
assert isinstance(prefilled(steps=5000), Approval)
assert not accepts(prefilled, steps=5, note="too long"), "fields that were not prefilled keep their limits"
properties = prefilled.model_json_schema()["properties"]
assert properties["steps"]["default"] == 500
assert not {"minimum", "maximum", "description"} & set(properties["steps"]), properties
PY
