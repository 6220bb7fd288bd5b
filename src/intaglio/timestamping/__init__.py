"""Time-stamps (RFC 3161): requests read, tokens made, refusals said."""
