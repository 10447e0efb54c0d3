"""An artifact's record as facts for people: rows of a table in the UI and in the terminal."""

from __future__ import annotations

from flows.run_plan import duration
from tasks.artifacts.store import Record, Store

UNITS = {  # of figures, and which way is better
    "loss": "nats a token, ↓ is better",
    "eval_loss": "nats a token, ↓ is better",
    "best_eval_loss": "nats a token, ↓ is better",
    "eval_accuracy": "of the pairs, as a share, ↑ is better",
    "eval_kl": "nats a token",
    "seconds": "s",
    "seconds_per_step": "s",
    "tokens": "tokens",
    "characters": "characters",
    "parameters": "parameters",
    "passes": "passes over the corpus",
    "batch": "rows a step",
}


def record_facts(record: Record, store: Store) -> list[dict[str, str]]:
    """Rows in and out, dropped rows by reason, origin, code, size and figures of an artifact of the store."""
    made = record.made
    facts = [("took", duration(made["seconds"]))]
    for source, counts in record.stats.get("funnel", {}).items():
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts["dropped"].items())
        facts.append(
            (f"rows of {source}", f"{counts['in']:,} in, {counts['kept']:,} kept" + (f"; dropped: {reasons}" if reasons else ""))
        )
    facts += [(f"left out: {each['file']}", each["why"]) for each in record.stats.get("left_out", ())]
    facts += [(f"from {role}", _named(key, store)) for role, key in record.lineage.items()]
    facts += [
        ("stage version", str(record.identity["version"])),
        ("code", made.get("commit", "unknown")[:12] + (" with uncommitted changes" if made.get("dirty") else "")),
        ("made on", f"{made['host']}, {made['machine']}"),
        ("size", f"{record.bytes / 1e6:,.2f} MB in {len(record.files)} files"),
        ("key", record.key),
        ("content digest", record.digest),
    ]
    facts += [
        (name.replace("_", " "), f"{_figure(value)} {UNITS.get(name, '')}".rstrip())
        for name, value in record.stats.items()
        if isinstance(value, int | float)
    ]
    return [{"fact": name, "value": value} for name, value in facts]


def _named(key: str, store: Store) -> str:
    """An artifact by the name of its stage: `pretrain 3e07f13deff4`."""
    record = store.record(key)
    return f"{record.stage} {key[:12]}" if record else key[:12]


def _figure(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
