"""A Hugging Face folder becomes a TensorFlow 1 checkpoint again."""
