"""What a user adds to any Trainer."""
