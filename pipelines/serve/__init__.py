"""The champion behind HTTP: the OpenAI images API and a page for people, on Ray Serve."""
