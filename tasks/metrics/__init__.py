"""Statistics of models and answers: intervals, bootstrap, answer similarity, text health."""
