"""How a corpus is parted into folds of train, validation and test: one file a protocol.

Every protocol is deterministic in its seed and does not depend on the order of the corpus's rows. Clips of one
utterance never part; clips of one speaker or session do not where the protocol promises so. What is drawn from a
fold's train and validation parts never depends on its test part.
"""
