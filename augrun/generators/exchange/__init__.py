"""Files and processes that exchange requests and samples with a program."""
