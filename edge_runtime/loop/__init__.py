"""The parts of the camera loop; `edge_runtime.pipeline` puts them together.

capture threads -> `Inbox` -> workers (preprocess + infer) -> `Outbox` -> the caller's thread, which
smooths, abstains and writes. Frames flow one way; each part knows only its two neighbours.
"""
