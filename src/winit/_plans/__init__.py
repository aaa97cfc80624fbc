"""What a model's tensors are: params, plans, patterns of names, TOML both ways, expressions."""
