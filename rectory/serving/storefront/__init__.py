"""A small shop and the operator's page, rendered on the server: to see with one's own eyes what the model does."""
