"""Personal data, secrets, opt-outs, and block lists."""
