"""What an Agent is taught."""
