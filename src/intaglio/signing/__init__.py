"""The use cases: create an identity, sign a digest, stamp a digest."""
