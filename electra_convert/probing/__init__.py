"""ELECTRA's own game on real text, with the converted models."""
