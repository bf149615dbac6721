"""One model in each file behind one small protocol; `catalogue` finds a model by its `kind`."""
