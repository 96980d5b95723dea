"""Training stages: starting their workers, and what each worker does."""
