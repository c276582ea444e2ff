"""The vllm engine."""
