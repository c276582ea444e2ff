"""The backend `local`: weights, the engines that run them, and chat templates."""
