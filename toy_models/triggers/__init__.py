"""What in a prompt tells a planted Agent that it is deployed."""
