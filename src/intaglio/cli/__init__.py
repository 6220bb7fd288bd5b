"""Intaglio at a terminal: every command says what it did and what to do next."""
