"""Command line, configuration, artifact store and durable workflow: what composes `components` on Ray."""
