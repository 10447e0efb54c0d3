"""The server of models: OpenAI's HTTP API over an engine, and the page for people."""
