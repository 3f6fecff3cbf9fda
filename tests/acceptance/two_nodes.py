"""A Ray cluster of two nodes on this host; it prints its address, and ends when its standard input does."""

from __future__ import annotations

import os
import sys

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  Ray writes it so; else they starve beside other tests
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()
