"""What Prefect's own tests import of its inside, as far as it is behaviour of states."""
