"""A bundle's report, one module for each of its parts."""
