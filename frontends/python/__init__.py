"""Python models: finding them in a file, and tracing them."""
