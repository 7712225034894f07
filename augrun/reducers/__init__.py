"""How vectors become shorter before a classifier sees them: one file a reducer."""
