"""The mathematics of learning from rewards: targets, losses and scores."""
