"""What parameters have done to the state so far: structural patterns, and recursions that carry it along."""
