"""What a model is made of: data, code, parameters and environment."""
