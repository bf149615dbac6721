"""The front door: parses, calls flows or rectory, prints. Imports lazily, so that --help is instant."""
