"""Python programs: the sandbox that calls them, the driver inside it, plain values, and the attacks it must stop."""
