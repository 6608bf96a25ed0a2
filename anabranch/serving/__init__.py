"""The wiring of the service: settings become a service in a database or over HTTP, its steps, and agents."""
