"""The query encoder that ships inside the package."""
