"""Checkpoints and folders in object stores, through fsspec."""
