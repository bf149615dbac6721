"""From a source to validated, versioned, split canonical tables."""
