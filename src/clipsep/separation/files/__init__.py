"""Recordings as files: outputs, their figure, and many recordings with a journal."""
