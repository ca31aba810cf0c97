"""Ways to steer what is generated."""
