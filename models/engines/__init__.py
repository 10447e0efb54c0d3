"""Serving engines: programs that answer many requests at once with one model, each as token ids; the server and `hanlin chat` decode with them."""
