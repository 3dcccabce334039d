"""fast-reid's import paths of its compiled evaluation."""
