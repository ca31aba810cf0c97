"""The equations of one time step of recurrent cells, and their local derivatives."""
