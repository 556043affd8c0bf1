"""What a node's network does, as metrics: EFA's counters, the way to other nodes, and the Lustre client."""
