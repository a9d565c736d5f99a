"""Files: checkpoints and the places they are kept in, feature files."""
