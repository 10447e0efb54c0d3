"""Filter rules: thresholds of the recipe, checks of one row, decontamination."""
