"""Work in other processes: supervised children, devices, worker pools, shards, and DuckDB within a memory limit."""
