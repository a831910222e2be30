"""The kernels of a training pass, counted on torch's meta device, and the time that they take at best on a GPU."""
