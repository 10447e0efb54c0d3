"""The invented world of the sample corpus: what is true in it (`facts`), how it is told (`prose`), and the files that tell it."""
