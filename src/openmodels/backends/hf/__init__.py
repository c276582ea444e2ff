"""Models at Hugging Face: its router to providers, and Inference Endpoints."""
