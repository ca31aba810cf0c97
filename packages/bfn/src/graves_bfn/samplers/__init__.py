"""Ways to generate data with any flow."""
