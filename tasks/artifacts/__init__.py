"""The artifact store and all that decides whether an artifact is reused or built: stages, keys, records, leases, tags, garbage."""
