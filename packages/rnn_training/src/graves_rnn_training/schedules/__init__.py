"""Which states of a long unrolled network to keep: the policies HSM, ISM and MSM, planned to be optimal."""
