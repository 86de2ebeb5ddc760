"""Many conversions, several at a time, each done once."""
