"""The declared configuration: what people write, loaded with positions and checked for shape."""
