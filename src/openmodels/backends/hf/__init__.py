"""Hugging Face: the router in front of the inference providers, and Inference Endpoints."""
