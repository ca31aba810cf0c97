"""Learners: a cell together with the way in which its gradient is computed."""
