"""Where artifacts live: files on any fsspec path, content-addressed artifacts, leases, runs, verified reads,
maintenance.
"""
