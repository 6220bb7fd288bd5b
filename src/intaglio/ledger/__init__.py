"""The durable, tamper-evident record: hash chains of entries, and a tree with signed heads over all of them."""
