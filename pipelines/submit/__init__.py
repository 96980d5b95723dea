"""`pixsem submit`: hands a run to a cluster's job server."""
