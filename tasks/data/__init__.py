"""Row contracts, and what several stages do with rows: the funnel, the mixture, tokens, words, uses."""
