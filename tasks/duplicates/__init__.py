"""Deduplication: the plan of its steps, candidate pairs, MinHash, similarity, clusters."""
