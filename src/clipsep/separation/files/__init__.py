"""What a separation leaves on disk: its tracks and their figure."""
