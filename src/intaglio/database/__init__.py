"""The database: engine from a URL, schema, and durable commits shared by concurrent requests."""
