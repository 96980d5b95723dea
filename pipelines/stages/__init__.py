"""The stages, one file each. `pipelines/workflows.py` puts them in order."""
