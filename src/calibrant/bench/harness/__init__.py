"""How protocols run: jobs over workers or a cluster, rows kept in a sheet, code and machine named."""
