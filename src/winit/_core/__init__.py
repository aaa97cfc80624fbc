"""From a scheme to values: records, checks, dtypes, shapes, keys, laws, binding, the door, threads, foreign memory."""
