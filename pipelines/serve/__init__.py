"""A model behind HTTP: OpenAI's API on Ray Serve, with continuous batching, limits, metrics and a chat page."""
