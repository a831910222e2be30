"""MLflow as a projection of a run's event log: the log is the truth, MLflow can always be filled in from it."""

from infra.tracking.cursor import TrackingError, catch_up, reconcile
from infra.tracking.database import tracking_uri
from infra.tracking.server import serve
from infra.tracking.tracker import Tracker

__all__ = ["Tracker", "TrackingError", "catch_up", "reconcile", "serve", "tracking_uri"]
