"""A small origin to try the edge with, as a process of its own: `python -m cluster.demo --port 8081`."""
