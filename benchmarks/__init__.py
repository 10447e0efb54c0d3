"""One script a claim: `python -m benchmarks.NAME`. The last line is JSON; the exit code is 1 where the bar is missed."""
