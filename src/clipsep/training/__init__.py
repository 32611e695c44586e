"""Training: configuration, data, losses, task, callbacks."""
