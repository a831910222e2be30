"""How far a run is: which stages can begin, and what became of the others."""
