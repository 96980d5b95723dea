"""`pixsem doctor`: tries what a run needs before it is started."""
