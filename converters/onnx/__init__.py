"""ONNX files: the float graph tidied, quantised and probed."""
