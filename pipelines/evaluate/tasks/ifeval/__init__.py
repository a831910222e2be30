"""IFEval: instructions whose following can be checked."""
