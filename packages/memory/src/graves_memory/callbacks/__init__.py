"""What may be added to any Trainer."""
