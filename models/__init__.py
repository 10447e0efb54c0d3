"""Everything that touches a tensor. Knows nothing of Prefect and nothing of the artifact store."""
