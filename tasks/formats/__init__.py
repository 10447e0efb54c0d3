"""Formats: the registry of their readers, the sniffer, and the common ground of readers (fields, dialogues, titles)."""
