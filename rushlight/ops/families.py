"""Every family of ops; importing this file declares them all. Their order is free: families import what they use."""

from __future__ import annotations

from rushlight.ops import arithmetic, links, reduction, shape

__all__ = ["arithmetic", "links", "reduction", "shape"]
