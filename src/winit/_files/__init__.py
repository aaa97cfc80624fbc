"""Tensors in files: safetensors headers, npz members, the index of shards, a file that appears whole or not at all."""
