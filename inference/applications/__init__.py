"""Applications of a trained model: features, generation, data augmentation, rejection of anomalies, attacks."""
