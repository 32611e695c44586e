"""Commands for people who train, measure and extend models."""
