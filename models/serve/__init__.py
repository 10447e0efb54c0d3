"""Serving of a model: its engines, the HTTP API over them, and the page for people."""
