"""A worker as torchrun starts it: `torchrun ... torchrun_worker.py RENDEZVOUS JOBS JOBS_OF_A_RESTART`, otherwise as
`train_worker.py`. Workers of one attempt meet at a file, which they remove in the end, and torchrun sets their ranks.
Each attempt leaves RENDEZVOUS-<attempt>.begun."""

import os
import sys
from pathlib import Path

import train_worker


def main() -> None:
    rendezvous, *jobs = sys.argv[1:]
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    Path(f"{rendezvous}-{attempt}.begun").touch()
    sys.argv[1:] = [os.environ["RANK"], os.environ["WORLD_SIZE"], f"{rendezvous}-{attempt}", jobs[attempt]]
    train_worker.main()


if __name__ == "__main__":
    main()
