"""Tracing: the spans of an answer that stand in the training rows, found with suffix arrays."""
