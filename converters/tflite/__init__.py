"""TFLite files: the float graph quantised, edited and probed."""
