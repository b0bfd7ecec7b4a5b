"""Frames that the model finds hard, kept to be sorted and learnt from."""
