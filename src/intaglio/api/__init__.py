"""The doors: bytes and HTTP translated into use cases and back; no rules of business live here."""
