"""The engines that run open weights on this machine, and the choice between them."""
