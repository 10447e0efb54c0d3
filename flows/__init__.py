"""Composition: what an operator triggers."""
