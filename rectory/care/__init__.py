"""Care of an installation: what state it is in, whether it is sound, what may go, who is to be forgotten."""
