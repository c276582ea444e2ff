"""The Hugging Face Hub, read in one place."""
