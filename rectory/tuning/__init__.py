"""Which hyperparameters of a candidate do best on the validation window. Sole importer of optuna."""
