"""The commands of this package, one module each; heavy imports wait for the command."""
