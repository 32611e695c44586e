"""What an evaluation found: statistics, text, files, a figure and a page to listen to."""
