"""Where models are listed: the Hugging Face Hub, the Azure AI catalog and this disk, joined in one index."""
