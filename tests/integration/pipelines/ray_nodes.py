"""A Ray cluster of several nodes on this machine: python ray_nodes.py '[{"num_cpus": 1}, {"after": 5, "num_cpus": 2,
"labels": {"pool": "gpu"}}]'.

Prints the address, starts the nodes that come `after` so many seconds, and ends with its standard input.
"""

from __future__ import annotations

import json
import sys
import time

from ray.cluster_utils import Cluster


def main() -> None:
    """Run the nodes."""
    first, *others = json.loads(sys.argv[1])
    cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **first})
    try:
        for node in [n for n in others if "after" not in n]:
            cluster.add_node(**node)
        print(cluster.address, flush=True)
        for node in [n for n in others if "after" in n]:
            time.sleep(node.pop("after"))
            cluster.add_node(**node)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
