"""How each architecture is built: one module for each family, named by `architectures.toml`."""
