"""What protocols tell: scores, tables, plots, and the page of results."""
