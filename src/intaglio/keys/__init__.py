"""Custody of private keys: made, sealed, used and destroyed here, and nowhere else."""
