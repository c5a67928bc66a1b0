"""Mixup smoothing: expression encoders, mixtures of atlas cells, and the perceptron trained on them."""
