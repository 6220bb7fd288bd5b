"""Profiles of signers as an operator has them: which there are, which account has which, and what is accredited."""
