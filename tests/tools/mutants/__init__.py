"""T14: each invariant is broken once, to see that the tests notice."""
