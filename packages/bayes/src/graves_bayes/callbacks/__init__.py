"""What can be added to any Trainer."""
