"""What runs on the device, step by step: sent there as source text, standard library only.

Each step is one function of this package. It may be cut off or killed at any line, and run again
from the start: whatever it makes gets its final name last, in one rename.
"""
