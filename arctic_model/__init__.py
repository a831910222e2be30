"""The model: Arctic's dense-MoE hybrid in torch. No Ray, no MLflow."""
