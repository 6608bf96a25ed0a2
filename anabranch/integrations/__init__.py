"""At home in other libraries. Each part is a file, loaded when it is asked for."""
