"""Other engines than transformers for open weights on this machine, and the choice between them."""
