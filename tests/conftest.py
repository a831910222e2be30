"""What holds for every test."""

from hypothesis import settings

# A busy machine is no reason to fail, and a failure is to be the same on the next run.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
