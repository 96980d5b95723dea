"""Configuration: the typed schema, and its composition from `conf/` and the command line."""
