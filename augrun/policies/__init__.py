"""How much is generated per class, and what the training set is made of; one file a policy."""
