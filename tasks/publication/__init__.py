"""Facts about a model or a corpus that people outside need: sources and their licences, lineage, card, upload."""
