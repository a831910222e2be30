"""Training: engine, loop, optimizers, schedule, losses, telemetry, and saving."""
