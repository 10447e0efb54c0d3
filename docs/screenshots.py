"""Takes the pictures of the guide from the real UI: `python -m docs.screenshots`. Needs what the browser of `benchmarks/operate.py` needs.

One `hanlin up` in a folder of its own, a run of the recipe `tiny` that fails and one that does not. With `--store`, that of a run of the recipe
`sample`, the picture of the chat page and no other.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.operate import Operator, browser
from benchmarks.page import tried

IMAGES = Path(__file__).parent / "images"
WIDTH = 1000  # pixels in the guide; pages are taken at 1400
HEIGHT = {"run-failed": 770}  # pixels of a page that are shown, of others 1400; a traceback with paths of this machine is not


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=14211)
    options.add_argument("--store", type=Path)
    given = options.parse_args()
    if given.store:
        chat(given.store, given.port)
    else:
        prefect_ui(given.port)


def chat(store: Path, port: int) -> None:
    """The page of `hanlin serve`."""
    with tempfile.TemporaryDirectory() as folder:
        assert all(one["ok"] for one in tried(store, Path(folder), port, ["side by side"]))
        shrink(Path(folder) / "two.png", IMAGES / "chat.png", 1400, colours=200)
        print(IMAGES / "chat.png", (IMAGES / "chat.png").stat().st_size, "bytes")


def prefect_ui(port: int) -> None:
    """The pages of the Prefect UI that an operator meets."""
    with tempfile.TemporaryDirectory() as folder:
        shots = Path(folder) / "shots"
        with Operator(Path(folder) / "up", port) as operator, browser(operator.address, shots) as page:
            pipeline, retrain = (f"/v2/deployments/deployment/{operator.deployment(name)}" for name in ("pipeline", "retrain"))
            page("open", path=f"{pipeline}/run", text="Changes", name="run-form")
            page("open", path=retrain, text="Schedules", name="schedules")
            wrong = operator.start("pipeline", recipe="tiny", changes=["sources.zhwiki.path=/data/dump.xml.bz2"])
            operator.finish(wrong)
            page("open", path=f"/v2/runs/flow-run/{wrong}", text="/data/dump.xml.bz2", name="run-failed")
            page("leave")
            run = operator.start("pipeline", recipe="tiny")
            operator.finish(run)
            page("open", path=f"/v2/runs/flow-run/{run}", text="Completed", name="run-page")
            record = operator.call("artifacts/filter", {"artifacts": {"key": {"any_": ["record-rejected"]}}, "limit": 1})[0]["id"]
            page("open", path=f"/v2/artifacts/artifact/{record}", text="took", name="record")
        for path in sorted(shots.glob("*.png")):
            shrink(path, IMAGES / path.name, HEIGHT.get(path.stem, 1400))
            print(IMAGES / path.name, (IMAGES / path.name).stat().st_size, "bytes")


def shrink(source: Path, target: Path, height: int, colours: int = 64) -> None:
    """A picture of few colours, as wide as a page."""
    target.parent.mkdir(exist_ok=True)
    with Image.open(source) as picture:
        cut = picture.crop((0, 0, picture.width, min(picture.height, height))).convert("RGB")
        cut.resize((WIDTH, cut.height * WIDTH // cut.width), Image.Resampling.LANCZOS).quantize(
            colours, dither=Image.Dither.NONE
        ).save(target, optimize=True)


if __name__ == "__main__":
    main()
