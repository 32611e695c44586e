"""What fills a data set: `prepare` from videos and sounds, `embed` for the embeddings of its frames."""
