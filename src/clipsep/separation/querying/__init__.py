"""What is asked of a recording, and the embeddings that a model reads it from."""
