"""What launchers and clusters on Kubernetes share: its API, a watch that goes on, names, and reasons in plain words."""
