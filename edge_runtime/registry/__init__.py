"""Bundles in container registries, as OCI artifacts: `edgeproof push` and `edgeproof pull`."""
