"""Export of a model for other programs: one writer a format, each read back by the program that it is for."""
