"""Keeping a local Ray, and Serve's replicas in it, off all interfaces but the loopback. Ray has no option for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.serve.limits import LOOPBACK

# Ray keeps to the loopback where it takes the machine for one that is never part of a cluster.
CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@contextmanager
def ray_on_loopback() -> Iterator[None]:
    """Have a Ray that is started inside listen on the loopback alone."""
    from ray._private import ray_constants

    before, in_clusters = os.environ.get(CLUSTERS), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[CLUSTERS], ray_constants.ENABLE_RAY_CLUSTER = "0", False  # of Ray's processes, and of this one
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = in_clusters
        os.environ.pop(CLUSTERS)
        if before is not None:
            os.environ[CLUSTERS] = before


def replica_on_loopback() -> None:
    """Called while a replica is made: where its node keeps to the loopback, so does the port that Serve opens for calls
    between deployments, which it would bind to all interfaces.
    """
    import ray
    from ray.serve._private import replica

    if ray.util.get_node_ip_address() != LOOPBACK:
        return
    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", LOOPBACK))
