"""Resources that stages need, and the capacity of a cluster."""

from infra.resources.demand import Demand, Resources

__all__ = ["Demand", "Resources"]
