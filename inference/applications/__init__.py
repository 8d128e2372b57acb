"""What a trained model is good for, measured: features, generated images, more training images."""
