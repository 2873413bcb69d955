"""What the service is measured against: the same model, served as others do it."""
