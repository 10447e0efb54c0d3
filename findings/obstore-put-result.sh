#!/usr/bin/env bash
# What obstore returns for a write cannot be used for the conditional write that it is meant for.
#
# Expected: put() returns {"e_tag": ..., "version": ...}; the type says that either may be None, and advises to keep both and hand
#   them back as mode=, so that a write happens only if nobody else wrote in between.
# Happens:  stores without versions (memory and disk here) return version None, and handing that back is "TypeError: 'None' is
#   not an instance of 'str'". The same dictionary without the key works in memory. A local folder cannot do it at all
#   (NotImplementedError), though mode="create" works there.
# Versions: obstore 0.12.1.
# Matters:  leases and compare-and-swap on buckets are first tried out on such stores, and only the second write fails.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet obstore==0.12.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata
import tempfile

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import LocalStore, MemoryStore

print("obstore", importlib.metadata.version("obstore"))


def write(store, body, mode):
    try:
        obstore.put(store, "lease", body, mode=mode)
        return "written"
    except (TypeError, NotImplementedError, AlreadyExistsError, PreconditionError) as error:
        print("     ", type(error).__name__ + ":", str(error).splitlines()[0][:100])
        return type(error).__name__


seen = {}
for store in (MemoryStore(), LocalStore(tempfile.mkdtemp(dir="."))):
    name = type(store).__name__
    first = obstore.put(store, "lease", b"1", mode="create")
    print(name, "returned", first)
    assert first["version"] is None
    only_tag = {"e_tag": first["e_tag"]}
    seen[name] = [
        write(store, b"2", first),            # as it came
        write(store, b"2", only_tag),         # without the key
        write(store, b"3", only_tag),         # stale by now, where the one before was written
        write(store, b"4", "create")]
    print("   as returned, without version, once more, create:", seen[name])
assert seen["MemoryStore"] == ["TypeError", "written", "PreconditionError", "AlreadyExistsError"], seen
assert seen["LocalStore"][0] == "TypeError" and seen["LocalStore"][3] == "AlreadyExistsError", seen
assert seen["LocalStore"][1] in ("NotImplementedError",), seen
PY
