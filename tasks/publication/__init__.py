"""What people outside need to know of a model or a corpus: its sources and their licences, its lineage, its card, its upload."""
