"""Measuring every way to run a bundle on this machine, each in a process of its own."""
