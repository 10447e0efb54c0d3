"""What readers share: formats and their readers, the sniffer, and rows out of records."""
