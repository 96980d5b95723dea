"""MLflow's only home: runs, data sets, and the user interface."""
