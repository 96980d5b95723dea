"""The stages, one file each. `pipelines/workflow/graph.py` puts them in order."""
