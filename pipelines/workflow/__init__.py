"""The durable workflow: the graph of stages, their identity, the driver, and the tasks that run in Ray."""
