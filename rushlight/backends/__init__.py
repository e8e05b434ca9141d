"""Who runs an eager call: NumPy, or a native kernel made for its signature."""
