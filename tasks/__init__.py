"""One stage a module: what it needs (`Params`), how it may run (`Resources`), and `run`."""
