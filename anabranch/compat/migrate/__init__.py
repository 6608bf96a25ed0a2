"""What becomes of a program written for Prefect: read line by line, without running any of it."""
