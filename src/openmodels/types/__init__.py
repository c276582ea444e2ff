"""The data that flows through openmodels: messages, options, requests, replies. Data only, no I/O."""
