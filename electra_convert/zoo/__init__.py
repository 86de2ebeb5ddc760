"""Which checkpoints a batch is about, and what each becomes: decided before anything starts."""
