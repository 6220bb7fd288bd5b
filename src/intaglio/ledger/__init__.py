"""The durable, tamper-evident record: a hash chain of entries, one chain per node."""
