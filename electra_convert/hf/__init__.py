"""Hugging Face folders: weights, config, tokenizer, card."""
