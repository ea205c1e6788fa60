"""Episodes that ``minari record`` runs with a policy: of one agent, of many, and of many environments at once."""
