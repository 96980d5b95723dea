"""What runs tell MLflow, registered versions, and the way back from a version to its data."""
