"""Tensors from files into plans: name rules, fits, and the loader of both."""
