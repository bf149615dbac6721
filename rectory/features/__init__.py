"""From split tables to coded interactions and sparse feature blocks."""
