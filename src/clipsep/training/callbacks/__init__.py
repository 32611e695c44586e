"""What happens while Lightning trains: models and examples are saved, and progress is shown."""
