"""What Prometheus reads of a run: `edgeproof run --metrics`."""
