"""What stages need of machines, and what a cluster can give."""

from infra.resources.demand import Demand, Resources

__all__ = ["Demand", "Resources"]
