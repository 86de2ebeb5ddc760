"""TensorFlow 1 checkpoints: files, tables, variables, graphs."""
