"""Recurrent cells of one time step, dense or sparse, with their Jacobians."""
