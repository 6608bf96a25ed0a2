"""The service and the record over HTTP: a noun a file in `routes/`, every route with a role."""
