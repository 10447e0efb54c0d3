"""Pages that stages write: the templates, their charts, and one module a section of the report."""
