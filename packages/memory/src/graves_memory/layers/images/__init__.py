"""Networks that turn images into codes and back."""
