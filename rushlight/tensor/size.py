"""torch.Size."""
class Size(tuple):
    def __repr__(self): return f"torch.Size({list(self)})"
