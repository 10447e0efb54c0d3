"""The stages, one a module: parameters (`Params`) and a function (`run`); and the rooms that they share."""
