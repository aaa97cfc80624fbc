"""The fused dense pass: forward and backward, weights that are never stored, products over threads, Householder."""
