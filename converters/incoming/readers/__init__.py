"""One reader a format: each gives a model's `Facts`, and runs inside the inspecting process."""
