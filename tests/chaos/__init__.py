"""A campaign of seeded faults against a small chain: `make chaos`.

`chain` is the victim, a run in a separate process; `faults` are the ways in which it is disturbed; `campaign` draws
faults, repeats the run until it ends, and checks after each fault that no committed result is lost, built twice or
different from those of an undisturbed run; `table` writes the numbers into docs/reliability.md.
"""
