"""How well a model separates: test mixtures, their scores, and a report of them."""
