"""The backend `local`: weights found, fetched and converted; an engine that runs them; chat templates."""
