"""What a trained model looks at: Grad-CAM, integrated gradients, filters and activation maps."""
