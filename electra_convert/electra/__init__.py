"""What Google's ELECTRA code trains, and what Hugging Face calls it; opens no file."""
