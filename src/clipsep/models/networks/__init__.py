"""The separation networks: from a spectrogram to features that a query multiplies."""
