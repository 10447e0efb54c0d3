"""Files of other people as records: their compression, encoding and containers. Knows no format."""
